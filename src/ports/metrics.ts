/** The port for metrics of requests, limits, cache and deliveries. */
import type { Cache, Outcome } from '../store/cache.ts'
import type { Limiter, LimitRule } from '../store/limiter.ts'

/** The outcome of one attempt. `throttled` and `unreachable` do not count against the event. */
export type DeliveryOutcome = 'handled' | 'failed' | 'throttled' | 'unreachable' | 'given up'

/** Every method returns at once and never throws. */
export type Metrics = {
  /** `route` is the path template of the operation, undefined for an unknown path. */
  requestAnswered(answer: { method: string; route: string | undefined; status: number; ms: number }): void
  limitDecided(decision: { rule: LimitRule['name']; allowed: boolean }): void
  cacheAsked(outcome: Outcome): void
  /** `ageMs` is the time since the event happened. */
  deliveryEnded(delivery: { outcome: DeliveryOutcome; ageMs: number }): void
}

export const noMetrics: Metrics = {
  requestAnswered() {},
  limitDecided() {},
  cacheAsked() {},
  deliveryEnded() {},
}

/** Counts the decisions of the limiter. */
export function measureLimiter(limiter: Limiter, metrics: Pick<Metrics, 'limitDecided'>): Limiter {
  return {
    ...limiter,
    async take(rule, identity, reading) {
      const verdict = await limiter.take(rule, identity, reading)
      metrics.limitDecided({ rule: rule.name, allowed: verdict.allowed })
      return verdict
    },
  }
}

/** Counts the look-ups of the cache. */
export function measureCache(cache: Cache, metrics: Pick<Metrics, 'cacheAsked'>): Cache {
  return {
    ...cache,
    lookUp(question, kept) {
      const lookup = cache.lookUp(question, kept)
      metrics.cacheAsked(lookup.outcome)
      return lookup
    },
  }
}
