/** Who calls. The signature of a token is checked by the rate limit; whether its session lives, the statements ask. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { isSessionLive } from '../accounts/sessions.ts'
import type { Problem } from '../core/problem.ts'
import { bearerToken, unauthorized } from './bearer.ts'
import type { AppEnv } from './deps.ts'
import { countAsAnonymous } from './rate-limit.ts'

/** Runs after the rate limit, which has verified the token and set `caller` if it is valid. */
export const authenticate = createMiddleware<AppEnv>(async function authenticate(c, next) {
  if (!c.get('caller'))
    throw unauthorized({ invalid: bearerToken(c.req.header('Authorization')) !== undefined })
  return next()
})

/**
 * For a statement that found the caller's session ended, or the account gone: the token was no valid one after all, so
 * the request counts for the address. Throws a 401, or a 429 when the address is over its limit.
 */
export async function refuseEnded(c: Context<AppEnv>): Promise<never> {
  c.get('deps').accessTokens.forget(c.get('accessToken'))
  await countAsAnonymous(c)
  throw unauthorized({ invalid: true })
}

/**
 * Throws the problem; but first, where a token was sent, asks whether its session still lives, since a refusal comes
 * before the statement that would have asked. So a token that was logged out learns nothing, and counts as none.
 */
export async function refuse(c: Context<AppEnv>, problem: Problem): Promise<never> {
  if (!(await isLive(c))) return refuseEnded(c)
  throw problem
}

/**
 * Whether the session of the token still lives; true when none was sent. One that has ended is not asked for again. A
 * live one is remembered for a second where no limit counts the request, which would else cost a statement each time.
 */
export async function isLive(c: Context<AppEnv>): Promise<boolean> {
  if (!c.get('caller')) return true
  const { accessTokens } = c.get('deps')
  const isFree = c.get('verdicts').every(({ counted }) => !counted)
  if (isFree && accessTokens.isConfirmed(c.get('accessToken'))) return true
  const confirm = accessTokens.startConfirming(c.get('accessToken'))
  const live = await isSessionLive(c.get('deps'), c.get('caller'))
  if (live) confirm()
  else accessTokens.forget(c.get('accessToken'))
  return live
}
