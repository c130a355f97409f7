/** Rate-limit headers: the IETF draft's two, the older three `X-RateLimit-*`, and `Retry-After`. */
import type { LimitRule, Verdict } from '../store/limiter.ts'

const seconds = (ms: number) => Math.ceil(ms / 1000)

/** The texts of a rule that are the same in every response. */
const texts = new WeakMap<LimitRule, { policy: string; limit: string; name: string }>()

function textsOf(rule: LimitRule) {
  const known = texts.get(rule)
  if (known) return known
  const name = `"${rule.name}"`
  const policy = `${name};q=${rule.limit};w=${seconds(rule.windowMs)}`
  const made = { policy, limit: String(rule.limit), name }
  texts.set(rule, made)
  return made
}

/**
 * On refusal `Retry-After` is at least 1 and at least the wait, and the reset headers name the same moment.
 * @param now ms since the epoch
 */
export function setRateLimitHeaders(headers: Record<string, string>, verdict: Verdict, now: number) {
  const { rule, allowed, remaining, resetAt, retryAfterMs } = verdict
  const { policy, limit, name } = textsOf(rule)
  const left = allowed ? Math.max(0, seconds(resetAt - now)) : Math.max(1, seconds(retryAfterMs))
  // draft-ietf-httpapi-ratelimit-headers-10
  headers['RateLimit-Policy'] = policy
  headers.RateLimit = `${name};r=${remaining};t=${left}`
  headers['X-RateLimit-Limit'] = limit
  headers['X-RateLimit-Remaining'] = String(remaining)
  headers['X-RateLimit-Reset'] = String(seconds(resetAt))
  if (!allowed) headers['Retry-After'] = String(left)
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
