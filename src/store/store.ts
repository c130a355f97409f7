/**
 * Where limits are counted and answers are cached: a Redis by TCP, Upstash by REST, or this process's memory. The three
 * decide alike; here is what they have in common, and what happens when one that is shared is lost.
 */
import { errorFields, type Logger } from '../core/log.ts'

/** The little of Redis that limits need. Failures reject. */
export type Counters = {
  /** Rejects with `NOSCRIPT` in the message when the script is to be sent by `eval`. */
  evalsha(sha: string, keys: string[], args: (string | number)[]): Promise<unknown>
  eval(script: string, keys: string[], args: (string | number)[]): Promise<unknown>
  mget(keys: string[]): Promise<(number | null)[]>
  /** One less, atomically; an absent key stays absent and 0 stays 0. */
  decrement(key: string): Promise<void>
}

export type Entry = { key: string; value: string; ttlMs: number }

/** The little of it that cached answers need. Each is one round trip; failures reject. */
export type Texts = {
  /** Stores `fresh` where its key is absent, and answers what that key and `key` hold then. */
  look(fresh: Entry, key: string): Promise<{ stamp: string; text: string | null }>
  put(entries: Entry[]): Promise<void>
}

export type Store = {
  counters: Counters
  texts: Texts
  ping(): Promise<void>
}

/** The store was found lost a moment ago, and is not asked again yet. */
export class StoreLostError extends Error {
  override name = 'StoreLostError'
}

export type Guard = {
  /**
   * Asks the store. Rejects with its failure, or when it takes longer than `timeoutMs`; and for `pauseMs` from then on
   * with a StoreLostError at once, so that a dead store costs few requests the wait. Then one question tries again.
   */
  ask<T>(question: () => Promise<T>): Promise<T>
  /** Whether the last that was heard of the store was a failure. */
  isLost(): boolean
}

/** The loss and the return are logged once each. */
export function createGuard({
  log,
  timeoutMs = 1000,
  pauseMs = 2000,
}: {
  log: Pick<Logger, 'info' | 'warn'>
  timeoutMs?: number
  pauseMs?: number
}): Guard {
  let lostAt: number | undefined
  let pausedUntil = 0

  return {
    async ask(question) {
      const begun = Date.now()
      if (begun < pausedUntil) throw new StoreLostError('the store is away')
      // While one question tries, the others are turned away.
      if (lostAt !== undefined) pausedUntil = begun + timeoutMs
      try {
        const answer = await within(timeoutMs, question())
        // What was asked before the loss may answer after it, and says nothing of now.
        if (lostAt !== undefined && begun >= lostAt) {
          log.info('the store is back')
          lostAt = undefined
          pausedUntil = 0
        }
        return answer
      } catch (error) {
        if (lostAt === undefined)
          log.warn('the store is lost: limits go on in this process, nothing is cached', errorFields(error))
        lostAt = Date.now()
        pausedUntil = lostAt + pauseMs
        throw error
      }
    },
    isLost: () => lostAt !== undefined,
  }
}

/** @throws Error when the work takes longer; it goes on then, and nobody waits for it */
export async function within<T>(timeoutMs: number, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}
