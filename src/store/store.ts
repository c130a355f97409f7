/** Storage of rate-limit counts and cached answers, in Redis, Upstash or memory: all three decide alike. */
import { errorFields, type Logger } from '../core/log.ts'
import type { CountingLimiter } from './limiter.ts'
import { type TimeLimit, timerEach } from './time-limit.ts'

/** The window of a limit at one moment, and the keys of its two buckets. */
export type Window = {
  limit: number
  windowMs: number
  /** Since the current bucket began. */
  elapsedMs: number
  key: string
  previousKey: string
}

/** Requests that the current and the previous bucket have counted. */
export type Counts = { current: number; previous: number }

/** Each call is one round trip; failures reject. */
export type Counters = {
  /**
   * Counts one request if `hasRoom`, atomically, and returns the counts after it. If it was allowed, a
   * store whose script can do so also reads `reading`, in the same round trip.
   */
  take(window: Window, reading?: Reading): Promise<Counts & { allowed: boolean; kept?: Kept | undefined }>
  counts(window: Window): Promise<Counts>
  /** Subtracts one, atomically. An absent key stays absent, and 0 stays 0. */
  decrement(key: string): Promise<void>
}

/** The requests that the window counts at this moment. The expression of `@upstash/ratelimit`. */
export const weighed = ({ windowMs, elapsedMs }: Window, { current, previous }: Counts) =>
  Math.floor((1 - elapsedMs / windowMs) * previous) + current

export const hasRoom = (window: Window, counts: Counts) => weighed(window, counts) < window.limit

export type Entry = { key: string; value: string; ttlMs: number }

/** Reads a user's cache version, which becomes `fresh` if there is none, and the entry under `key`. */
export type Reading = { fresh: Entry; key: string }
/** `text` is the entry's, null if there is none. */
export type Kept = { version: string; text: string | null }

/** Each call is one round trip; failures reject. */
export type CacheStore = {
  read(reading: Reading): Promise<Kept>
  set(entries: Entry[]): Promise<void>
}

export type Store = { limiter: CountingLimiter; entries: CacheStore; ping(): Promise<void> }

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
type GuardOptions = {
  log: Pick<Logger, 'info' | 'warn'>
  timeoutMs?: number
  pauseMs?: number
  limitTime?: (ms: number) => TimeLimit
}

export function createGuard({
  log,
  timeoutMs = 1000,
  pauseMs = 2000,
  limitTime = timerEach,
}: GuardOptions): Guard {
  const inTime = limitTime(timeoutMs)
  let lostAt: number | undefined
  let pausedUntil = 0

  return {
    async ask(question) {
      const begun = Date.now()
      if (begun < pausedUntil) throw new StoreLostError('the store is away')
      // Only one question tries at a time.
      if (lostAt !== undefined) pausedUntil = begun + timeoutMs
      try {
        const answer = await inTime(question())
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
