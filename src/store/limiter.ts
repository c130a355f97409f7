/** Rate limits: the port, the sliding window behind it, and the fallback to this process's memory. */
import {
  type CacheStore,
  type Counters,
  type Counts,
  type Guard,
  type Kept,
  type Reading,
  type Window,
  weighed,
} from './store.ts'

export type LimitRule = {
  /** Part of the counters' keys, and shown to clients in `RateLimit-Policy`. */
  name: 'user' | 'anonymous' | 'token' | 'register' | 'login' | 'username' | 'password'
  limit: number
  windowMs: number
}

export type Verdict = {
  rule: LimitRule
  allowed: boolean
  remaining: number
  /** Ms since the epoch: the end of the current bucket, or on refusal the moment a retry succeeds. */
  resetAt: number
  /** 0 when allowed, otherwise the exact wait until one request passes if no other is counted meanwhile. */
  retryAfterMs: number
  /** The bucket of an allowed `take`, for `refund`. */
  counted: Counted | undefined
  /** The result of the reading that an allowed `take` was given. */
  kept: Kept | undefined
}

type Counted = { counters: Counters; key: string; isRefunded: boolean }

export type Limiter = {
  /** Counts one request, unless it is refused. If not, reads `reading` besides, in the same round trip. */
  take(rule: LimitRule, identity: string, reading?: Reading): Promise<Verdict>
  /** The verdict of `take`, without counting a request. */
  peek(rule: LimitRule, identity: string): Promise<Verdict>
  /** Takes an allowed `take` back, once, from the bucket that counted it. Ignores any other verdict. */
  refund(verdict: Verdict): Promise<void>
}

/** A limiter over one set of counters, by which it recognises its own verdicts. */
export type CountingLimiter = Limiter & { counters: Counters }

/**
 * The sliding window of `@upstash/ratelimit`: its keys and its arithmetic, so that both can share a Redis.
 * When the counters fail, `take` and `peek` reject: see `withFallback`.
 * @throws RangeError for a rule whose figures are not whole numbers of at least 1
 */
export function createLimiter({ counters }: { counters: Counters }): CountingLimiter {
  return {
    counters,
    async take(rule, identity, reading) {
      const window = windowAt(rule, identity, Date.now())
      const taken = await counters.take(window, reading)
      if (!taken.allowed) return refused(rule, window, taken)
      const remaining = rule.limit - weighed(window, taken)
      const verdict = allowed(rule, window, remaining, { counters, key: window.key, isRefunded: false })
      verdict.kept = taken.kept
      return verdict
    },
    async peek(rule, identity) {
      const window = windowAt(rule, identity, Date.now())
      const counts = await counters.counts(window)
      const remaining = rule.limit - weighed(window, counts)
      return remaining > 0 ? allowed(rule, window, remaining) : refused(rule, window, counts)
    },
    async refund({ counted }) {
      if (!counted || counted.isRefunded) return
      counted.isRefunded = true
      await counted.counters.decrement(counted.key)
    },
  }
}

/** For a store that needs no script to do both: it has one turn for a count and a look-up. */
export const readingBeside = <L extends Limiter>(limiter: L, entries: CacheStore): L => ({
  ...limiter,
  async take(rule, identity, reading) {
    if (!reading) return limiter.take(rule, identity)
    const [verdict, kept] = await Promise.all([limiter.take(rule, identity), entries.read(reading)])
    if (verdict.allowed) verdict.kept = kept
    return verdict
  },
})

export function windowAt({ name, limit, windowMs }: LimitRule, identity: string, now: number): TimedWindow {
  if (!(isFigure(limit) && isFigure(windowMs))) {
    throw new RangeError(`rate limit ${name}: ${limit} requests in ${windowMs} ms is no limit`)
  }
  const bucket = Math.floor(now / windowMs)
  const keys = `${prefixOf(name)}:${tagged(identity)}:`
  const elapsedMs = now % windowMs
  return { limit, windowMs, elapsedMs, key: keys + bucket, previousKey: keys + (bucket - 1), now }
}

const isFigure = (figure: number) => Number.isSafeInteger(figure) && figure >= 1

type TimedWindow = Window & { now: number }

export const prefixOf = (name: LimitRule['name']) => `limit:${name}`

/**
 * A hash tag: a Redis cluster runs a script only on keys of one slot, and a script reads both buckets. An
 * identity is any text, such as a name at log-in: a brace in it would end the tag early, and an empty tag
 * counts as none.
 */
export const tagged = (identity: string) => `{${identity.replace(/[{}%]/g, encodeURIComponent) || '%'}}`

/** Without `counted` for a `peek`. */
export function allowed(
  rule: LimitRule,
  { now, elapsedMs, windowMs }: TimedWindow,
  remaining: number,
  counted?: Counted,
): Verdict {
  const resetAt = now - elapsedMs + windowMs
  return { rule, allowed: true, remaining, resetAt, retryAfterMs: 0, counted, kept: undefined }
}

export function refused(rule: LimitRule, window: TimedWindow, counts: Counts): Verdict {
  // Counts that were read after the refusal may have room again, but a refusal names a later moment.
  const retryAfterMs = Math.max(1, msUntilAllowed(window, counts))
  const resetAt = window.now + retryAfterMs
  return { rule, allowed: false, remaining: 0, resetAt, retryAfterMs, counted: undefined, kept: undefined }
}

/**
 * Milliseconds until the window lets one request pass, 0 when it does already: the smallest `t` with
 * `floor((1 - t / window) * previous) + current < limit`, in this window or in the next, where `current` is
 * `previous`.
 */
export function msUntilAllowed(
  { limit, windowMs, elapsedMs }: Pick<Window, 'limit' | 'windowMs' | 'elapsedMs'>,
  { current, previous }: Counts,
): number {
  if (current < limit) return firstFit(previous, limit - current, elapsedMs, windowMs) - elapsedMs
  return windowMs - elapsedMs + firstFit(current, limit, 0, windowMs)
}

/**
 * The first ms of a window, from `fromMs` on, at which `previous` weighs less than `room`. A search by the
 * expression of the script: a closed form is off by 1 ms in a few cases of a hundred.
 */
function firstFit(previous: number, room: number, fromMs: number, windowMs: number): number {
  let low = fromMs
  let high = windowMs
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (Math.floor((1 - middle / windowMs) * previous) < room) high = middle
    else low = middle + 1
  }
  return low
}

/**
 * Asks `primary` under the guard, and `memory` if that fails. `memory` does not know the counts of `primary`:
 * a loss begins a new window of this process.
 */
export function withFallback(options: { primary: Limiter; memory: CountingLimiter; guard: Guard }): Limiter {
  const { primary, memory, guard } = options

  return {
    async take(rule, identity, reading) {
      try {
        return await guard.ask(() => primary.take(rule, identity, reading))
      } catch {
        return memory.take(rule, identity)
      }
    },
    peek: (rule, identity) =>
      guard.ask(() => primary.peek(rule, identity)).catch(() => memory.peek(rule, identity)),
    async refund(verdict) {
      if (verdict.counted?.counters === memory.counters) return memory.refund(verdict)
      // While the store is lost the request stays counted there until its bucket expires.
      await guard.ask(() => primary.refund(verdict)).catch(() => {})
    },
  }
}
