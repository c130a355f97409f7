/** Storage of rate-limit counts and cached answers, in Redis, Upstash or memory: all three decide alike. */
import { errorFields, type Logger } from '../core/log.ts'
import { withTimeout } from '../core/timeout.ts'

/** The commands of Redis that limits need. Failures reject. */
export type Counters = {
  /** Rejects with `NOSCRIPT` in the message when the script has to be sent by `eval`. */
  evalsha(sha: string, keys: string[], args: (string | number)[]): Promise<unknown>
  eval(script: string, keys: string[], args: (string | number)[]): Promise<unknown>
  mget(keys: string[]): Promise<(number | null)[]>
  /** Subtracts one, atomically. An absent key stays absent, and 0 stays 0. */
  decrement(key: string): Promise<void>
}

export type Entry = { key: string; value: string; ttlMs: number }

/** Each call is one round trip; failures reject. */
export type CacheStore = {
  /** Stores `fresh` if its key is absent. Returns the value under that key, and the one under `key`. */
  getWithVersion(fresh: Entry, key: string): Promise<{ version: string; text: string | null }>
  set(entries: Entry[]): Promise<void>
}

export type Store = { counters: Counters; entries: CacheStore; ping(): Promise<void> }

/** The store failed a moment ago and is not asked yet. */
export class StoreLostError extends Error {
  override name = 'StoreLostError'
}

export type Guard = {
  /**
   * Asks the store. Rejects with its failure, or when it takes longer than `timeoutMs`. For `pauseMs` after
   * that it rejects at once with a StoreLostError, so that few requests wait for a dead store; then one
   * question tries again.
   */
  ask<T>(question: () => Promise<T>): Promise<T>
}

/** Logs a loss once, and a return once. */
type GuardOptions = { log: Pick<Logger, 'info' | 'warn'>; timeoutMs?: number; pauseMs?: number }

export function createGuard({ log, timeoutMs = 1000, pauseMs = 2000 }: GuardOptions): Guard {
  let lostAt: number | undefined
  let pausedUntil = 0

  return {
    async ask(question) {
      const begun = Date.now()
      if (begun < pausedUntil) throw new StoreLostError('the store is away')
      // Only one question tries at a time.
      if (lostAt !== undefined) pausedUntil = begun + timeoutMs
      try {
        const answer = await withTimeout(timeoutMs, question())
        // A question from before the loss may be answered after it, which proves nothing.
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
  }
}
