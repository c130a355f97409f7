/** What is counted while requests are served, in our words; whoever publishes it is the runtime's business. */
import type { Cache, Outcome } from '../store/cache.ts'
import type { Limiter, LimitRule } from '../store/limiter.ts'

/** The outcome of one attempt; `throttled` and `unreachable` where nothing says that the event was at fault. */
export type DeliveryOutcome = 'handled' | 'failed' | 'throttled' | 'unreachable' | 'given up'

/** None of these takes time, or fails. */
export type Metrics = {
  /** `route` is the canonical path of the operation, undefined for a path that is none. */
  requestAnswered(answer: { method: string; route: string | undefined; status: number; ms: number }): void
  limitDecided(decision: { rule: LimitRule['name']; allowed: boolean }): void
  cacheAsked(outcome: Outcome): void
  /** `ageMs` is how long ago the event happened. */
  deliveryEnded(delivery: { outcome: DeliveryOutcome; ageMs: number }): void
}

export const noMetrics: Metrics = {
  requestAnswered() {},
  limitDecided() {},
  cacheAsked() {},
  deliveryEnded() {},
}

/** The same limiter, its decisions counted. */
export function measureLimiter(limiter: Limiter, metrics: Pick<Metrics, 'limitDecided'>): Limiter {
  return {
    ...limiter,
    async take(rule, identity) {
      const verdict = await limiter.take(rule, identity)
      metrics.limitDecided({ rule: rule.name, allowed: verdict.allowed })
      return verdict
    },
  }
}

/** The same cache, its look-ups counted. */
export function measureCache(cache: Cache, metrics: Pick<Metrics, 'cacheAsked'>): Cache {
  return {
    ...cache,
    async lookUp(caller, representation) {
      const lookup = await cache.lookUp(caller, representation)
      metrics.cacheAsked(lookup.outcome)
      return lookup
    },
  }
}
