/** Rate limits: the port, the sliding window behind it, and the fallback to this process's memory. */
import { Ratelimit } from '@upstash/ratelimit'
import type { Redis } from '@upstash/redis'
import type { Counters, Guard } from './store.ts'

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
}

type Counted = { counters: Counters; identity: string; bucket: number; isRefunded: boolean }

export type Limiter = {
  /** Counts one request, unless it is refused. */
  take(rule: LimitRule, identity: string): Promise<Verdict>
  /** The verdict of `take`, without counting a request. */
  peek(rule: LimitRule, identity: string): Promise<Verdict>
  /** Takes an allowed `take` back, once, from the bucket that counted it. Ignores any other verdict. */
  refund(verdict: Verdict): Promise<void>
}

/** A limiter over one set of counters, by which it recognises its own verdicts. */
export type CountingLimiter = Limiter & { counters: Counters }

/**
 * The sliding window of `@upstash/ratelimit`, which reads `Date.now()` and no other clock. When the counters
 * fail, `take` and `peek` reject: see `withFallback`.
 * @throws RangeError at a rule's first use if its figures are not whole numbers of at least 1
 */
export function createLimiter({ counters }: { counters: Counters }): CountingLimiter {
  const windows = new WeakMap<LimitRule, Ratelimit>()

  function windowOf(rule: LimitRule): Ratelimit {
    const known = windows.get(rule)
    if (known) return known
    const made = slidingWindow(rule, counters)
    windows.set(rule, made)
    return made
  }

  /** Reads both counts: the library returns neither, and its `reset` is too early for a retry. */
  async function refusal(rule: LimitRule, identity: string): Promise<Verdict> {
    const at = Date.now()
    const bucket = Math.floor(at / rule.windowMs)
    const keys = [keyOf(rule, identity, bucket), keyOf(rule, identity, bucket - 1)]
    const [current, previous] = await counters.mget(keys)
    const counts = { current: current ?? 0, previous: previous ?? 0, elapsedMs: at % rule.windowMs }
    // A refund since the refusal could leave nothing to wait for, but a refusal names a later moment.
    const retryAfterMs = Math.max(1, msUntilAllowed(rule, counts))
    const resetAt = at + retryAfterMs
    return { rule, allowed: false, remaining: 0, resetAt, retryAfterMs, counted: undefined }
  }

  return {
    counters,
    async take(rule, identity) {
      const { success, remaining, reset } = await windowOf(rule).limit(tagged(identity))
      if (!success) return refusal(rule, identity)
      const counted = { counters, identity, bucket: reset / rule.windowMs - 1, isRefunded: false }
      return { rule, allowed: true, remaining, resetAt: reset, retryAfterMs: 0, counted }
    },
    async peek(rule, identity) {
      const { remaining, reset } = await windowOf(rule).getRemaining(tagged(identity))
      if (remaining === 0) return refusal(rule, identity)
      return { rule, allowed: true, remaining, resetAt: reset, retryAfterMs: 0, counted: undefined }
    },
    async refund({ rule, counted }) {
      if (!counted || counted.isRefunded) return
      counted.isRefunded = true
      await counted.counters.decrement(keyOf(rule, counted.identity, counted.bucket))
    },
  }
}

function slidingWindow(rule: LimitRule, counters: Counters): Ratelimit {
  const { name, limit, windowMs } = rule
  if (![limit, windowMs].every((figure) => Number.isSafeInteger(figure) && figure >= 1)) {
    throw new RangeError(`rate limit ${name}: ${limit} requests in ${windowMs} ms is no limit`)
  }
  return new Ratelimit({
    // With the options below the library calls only evalsha and eval of the client.
    redis: counters as unknown as Redis,
    limiter: Ratelimit.slidingWindow(limit, `${windowMs} ms`),
    prefix: prefixOf(rule),
    // It would block until `reset`, which is later than the window requires.
    ephemeralCache: false,
    // It would allow everything when the store is slow. The guard has the time-out.
    timeout: 0,
    analytics: false,
    enableTelemetry: false,
  })
}

const prefixOf = (rule: LimitRule) => `limit:${rule.name}`

/**
 * A hash tag: a Redis cluster runs a script only on keys of one slot, and a script reads both buckets. An
 * identity is any text, such as a name at log-in: a brace in it would end the tag early, and an empty tag
 * counts as none.
 */
const tagged = (identity: string) => `{${identity.replace(/[{}%]/g, encodeURIComponent) || '%'}}`

/** The library's key; `bucket` is the number of windows since the epoch. */
const keyOf = (rule: LimitRule, identity: string, bucket: number) =>
  `${prefixOf(rule)}:${tagged(identity)}:${bucket}`

/**
 * Milliseconds until the window lets one request pass, 0 when it does already: the smallest `t` with
 * `floor((1 - t / window) * previous) + current < limit`, in this window or in the next, where `current` is
 * `previous`.
 */
export function msUntilAllowed(
  { limit, windowMs }: Pick<LimitRule, 'limit' | 'windowMs'>,
  { current, previous, elapsedMs }: { current: number; previous: number; elapsedMs: number },
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
  const ask = (question: (limiter: Limiter) => Promise<Verdict>) =>
    guard.ask(() => question(primary)).catch(() => question(memory))

  return {
    take: (rule, identity) => ask((limiter) => limiter.take(rule, identity)),
    peek: (rule, identity) => ask((limiter) => limiter.peek(rule, identity)),
    async refund(verdict) {
      if (verdict.counted?.counters === memory.counters) return memory.refund(verdict)
      // While the store is lost the request stays counted there until its bucket expires.
      await guard.ask(() => primary.refund(verdict)).catch(() => {})
    },
  }
}
