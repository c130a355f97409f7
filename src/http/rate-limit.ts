/** Sliding-window limits as middleware: whom a request counts for, and what its answer says of it. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { Config } from '../config/api.ts'
import { limitAddress } from '../core/addresses.ts'
import { Problem } from '../core/problem.ts'
import type { Limiter, LimitRule, Verdict } from '../store/limiter.ts'
import { bearerToken } from './bearer.ts'
import type { AppEnv } from './deps.ts'
import { rateLimitHeaders, reported } from './rate-limit-headers.ts'

/** Where credentials are asked for, requests count by address and `Authorization` is ignored. */
const register = /^\/api\/register\/?$/
const tokens = /^\/api\/token(\/.*)?$/
/** Asking costs nothing. */
const free = /^\/api\/rate-limit\/?$/

/** A limit, and whose count of it a request adds to. */
export type Count = { rule: LimitRule; identity: string }

/**
 * Counts the request before anything else is done with it: for the user when it bears a valid token, else for
 * the client's address. Sets `caller` and `accessToken` for a valid token.
 */
export const rateLimit = createMiddleware<AppEnv>(async function rateLimit(c, next) {
  const { config, limiter } = c.get('deps')
  c.set('verdicts', [])
  c.set('address', limitAddress(c.get('clientAddress')))
  await identifyCaller(c)
  const counts = countsOf(c, config.limits)
  // In the same turn as the count, so that both travel to the store together.
  const lookUp = c.get('lookUp')
  if (lookUp && c.get('caller')) c.set('lookup', lookUp(c.get('caller')))
  if (free.test(c.req.path)) report(c, ...(await Promise.all(counts.map((each) => peek(limiter, each)))))
  else await count(c, ...counts)
  return next()
})

async function identifyCaller(c: Context<AppEnv>) {
  if (register.test(c.req.path) || tokens.test(c.req.path)) return
  const token = bearerToken(c.req.header('Authorization'))
  const caller = token ? await c.get('deps').accessTokens.verify(token) : null
  if (!token || !caller) return
  c.set('caller', caller)
  c.set('accessToken', token)
}

function countsOf(c: Context<AppEnv>, limits: Config['limits']): Count[] {
  const { address: identity, caller } = c.var
  if (caller) return [{ rule: limits.user, identity: String(caller.userId) }]
  // A limit of their own: nothing else that comes from the address keeps anyone from logging in.
  if (tokens.test(c.req.path)) return [{ rule: limits.token, identity }]
  const anonymous = { rule: limits.anonymous, identity }
  return register.test(c.req.path) ? [anonymous, { rule: limits.register, identity }] : [anonymous]
}

const peek = (limiter: Limiter, { rule, identity }: Count) => limiter.peek(rule, identity)

/**
 * Counts the request under these limits too, in this order. When one of them refuses, the request is counted
 * nowhere: what it was counted for before is given back, and a 429 is thrown, which names the limit to wait
 * for longest.
 */
export async function count(c: Context<AppEnv>, ...counts: Count[]): Promise<Verdict[]> {
  const { limiter } = c.get('deps')
  const taken: Verdict[] = []
  for (const [index, { rule, identity }] of counts.entries()) {
    const verdict = await limiter.take(rule, identity)
    if (verdict.allowed) {
      taken.push(verdict)
      continue
    }
    await refund(c, [...c.get('verdicts'), ...taken])
    const others = await Promise.all(counts.slice(index + 1).map((each) => peek(limiter, each)))
    throw refusal(report(c, verdict, ...others) ?? verdict)
  }
  report(c, ...taken)
  return taken
}

function refusal({ rule }: Verdict): Problem {
  return new Problem(429, `The limit is ${rule.limit} in ${rule.windowMs / 1000} seconds; see Retry-After.`, {
    // draft-ietf-httpapi-ratelimit-headers-10, section 6
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    members: { 'violated-policies': [rule.name] },
  })
}

/**
 * For a token that turned out to be none: what was counted for the user is counted for the address instead.
 */
export async function countAsAnonymous(c: Context<AppEnv>) {
  const counted = [...c.get('verdicts')]
  const wasFree = counted.every((verdict) => !verdict.counted)
  await refund(c, counted)
  const { config, limiter } = c.get('deps')
  const anonymous = { rule: config.limits.anonymous, identity: c.get('address') }
  if (wasFree) report(c, await peek(limiter, anonymous))
  else await count(c, anonymous)
}

/** Un-counts what turned out not to count, a right password for one; the answer no longer speaks of it. */
export async function refund(c: Context<AppEnv>, verdicts: Verdict[]) {
  await Promise.all(verdicts.map((verdict) => c.get('deps').limiter.refund(verdict)))
  c.set(
    'verdicts',
    c.get('verdicts').filter((verdict) => !verdicts.includes(verdict)),
  )
  report(c)
}

/** Returns the verdict that the answer now speaks of. */
function report(c: Context<AppEnv>, ...verdicts: Verdict[]): Verdict | undefined {
  c.get('verdicts').push(...verdicts)
  const verdict = reported(c.get('verdicts'))
  if (!verdict) return undefined
  for (const [name, value] of Object.entries(rateLimitHeaders(verdict, c.get('deps').now())))
    c.header(name, value)
  return verdict
}
