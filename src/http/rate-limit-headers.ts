/** Rate-limit headers: the IETF draft's two, the older three `X-RateLimit-*`, and `Retry-After`. */
import type { Verdict } from '../store/limiter.ts'

const seconds = (ms: number) => Math.ceil(ms / 1000)

/**
 * On refusal `Retry-After` is at least 1 and at least the wait, and the reset headers name the same moment.
 * @param now ms since the epoch
 */
export function rateLimitHeaders(verdict: Verdict, now: number): Record<string, string> {
  const { rule, allowed, remaining, resetAt, retryAfterMs } = verdict
  const left = allowed ? Math.max(0, seconds(resetAt - now)) : Math.max(1, seconds(retryAfterMs))
  return {
    // draft-ietf-httpapi-ratelimit-headers-10
    'RateLimit-Policy': `"${rule.name}";q=${rule.limit};w=${seconds(rule.windowMs)}`,
    RateLimit: `"${rule.name}";r=${remaining};t=${left}`,
    'X-RateLimit-Limit': String(rule.limit),
    'X-RateLimit-Remaining': String(remaining),
    'X-RateLimit-Reset': String(seconds(resetAt)),
    ...(allowed ? {} : { 'Retry-After': String(left) }),
  }
}

/**
 * The verdict that a response reports: the refusal with the longest wait, else the verdict with least
 * remaining, the first among equals. Undefined for none.
 */
export function reported(verdicts: readonly Verdict[]): Verdict | undefined {
  return verdicts.reduce<Verdict | undefined>((worst, verdict) => {
    if (worst === undefined) return verdict
    if (verdict.retryAfterMs !== worst.retryAfterMs) {
      return verdict.retryAfterMs > worst.retryAfterMs ? verdict : worst
    }
    return verdict.remaining < worst.remaining ? verdict : worst
  }, undefined)
}
