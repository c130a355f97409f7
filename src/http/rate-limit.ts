/** Sliding-window limits as middleware: whom a request counts for, and what its answer says of it. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import type { AppEnv, Runtime } from '../deps.ts'
import type { LimitRule, Verdict } from '../limiter.ts'
import { Problem } from '../problem.ts'
import { bearerToken } from './bearer.ts'
import { clientAddress, limitAddress } from './client-address.ts'
import { rateLimitHeaders, reported } from './rate-limit-headers.ts'

/** Credentials are asked for here: whoever calls, and with whatever token, counts by address. */
const alwaysAnonymous = /^\/api\/(register|token(\/.*)?)\/?$/
/** Asking costs nothing. */
const free = /^\/api\/rate-limit\/?$/

/**
 * Counts the request before anything else is done with it: for the user when it bears a valid token, else for the
 * client's address. Sets `caller` and `accessToken` for a valid token.
 */
export function rateLimit({ connectionAddress }: Pick<Runtime, 'connectionAddress'>) {
  return createMiddleware<AppEnv>(async function rateLimit(c, next) {
    const { config, accessTokens, limiter } = c.get('deps')
    c.set('verdicts', [])
    c.set('address', addressOf(c, connectionAddress(c)))
    if (!alwaysAnonymous.test(c.req.path)) {
      const token = bearerToken(c.req.header('Authorization'))
      const caller = token ? await accessTokens.verify(token) : null
      if (token && caller) {
        c.set('caller', caller)
        c.set('accessToken', token)
      }
    }
    const [rule, identity] = c.get('caller')
      ? [config.limits.user, String(c.get('caller').userId)]
      : [config.limits.anonymous, c.get('address')]
    // In the same turn as the count, so that both travel to the store together.
    const lookUp = c.get('lookUp')
    if (lookUp && c.get('caller')) c.set('lookup', lookUp(c.get('caller')))
    if (free.test(c.req.path)) report(c, await limiter.peek(rule, identity))
    else await count(c, rule, identity)
    return next()
  })
}

/**
 * Counts the request under one more rule. When that refuses, the request is counted nowhere: what it was counted for
 * before is given back, and a 429 is thrown.
 */
export async function count(c: Context<AppEnv>, rule: LimitRule, identity: string): Promise<Verdict> {
  const verdict = await c.get('deps').limiter.take(rule, identity)
  if (!verdict.allowed) await giveBack(c, [...c.get('verdicts')])
  report(c, verdict)
  if (verdict.allowed) return verdict
  throw new Problem(429, `The limit is ${rule.limit} in ${rule.windowMs / 1000} seconds; see Retry-After.`, {
    // draft-ietf-httpapi-ratelimit-headers-10, section 6
    type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
    members: { 'violated-policies': [rule.name] },
  })
}

/** For a token that turned out to be none: what was counted for the user is counted for the address instead. */
export async function countAsAnonymous(c: Context<AppEnv>) {
  const counted = [...c.get('verdicts')]
  const wasFree = counted.every((verdict) => !verdict.counted)
  await giveBack(c, counted)
  const { anonymous } = c.get('deps').config.limits
  if (wasFree) report(c, await c.get('deps').limiter.peek(anonymous, c.get('address')))
  else await count(c, anonymous, c.get('address'))
}

/** Un-counts what turned out not to count, a right password for one; the answer no longer speaks of it. */
export async function giveBack(c: Context<AppEnv>, verdicts: Verdict[]) {
  await Promise.all(verdicts.map((verdict) => c.get('deps').limiter.giveBack(verdict)))
  c.set(
    'verdicts',
    c.get('verdicts').filter((verdict) => !verdicts.includes(verdict)),
  )
  report(c)
}

function report(c: Context<AppEnv>, ...verdicts: Verdict[]) {
  c.get('verdicts').push(...verdicts)
  const verdict = reported(c.get('verdicts'))
  if (!verdict) return
  for (const [name, value] of Object.entries(rateLimitHeaders(verdict, c.get('deps').now())))
    c.header(name, value)
}

function addressOf(c: Context<AppEnv>, connection: string | undefined): string {
  const { trustedProxy } = c.get('deps').config
  const forwardedForHops = trustedProxy?.header === 'x-forwarded-for' ? trustedProxy.hops : null
  const header = trustedProxy ? c.req.header(trustedProxy.header) : undefined
  return limitAddress(clientAddress({ connection, header, forwardedForHops }))
}
