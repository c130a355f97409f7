/** Whether the caller is known, and whether the token's session still lives. */
import { type Caller, checkSession } from '../auth/caller.ts'
import { bearerToken, unauthorized } from './bearer.ts'
import type { Exchange } from './deps.ts'
import { countAsAnonymous } from './rate-limit.ts'

/**
 * Sets `session` where a valid access token was sent. Returns a promise only for a token that this process
 * has to verify first.
 */
export function identify(exchange: Exchange): Promise<void> | undefined {
  const accessToken = bearerToken(exchange.c.req.header('Authorization'))
  if (!accessToken) return undefined
  const caller = exchange.deps.accessTokens.verify(accessToken)
  if (caller instanceof Promise)
    return caller.then((verified) => {
      if (verified) exchange.session = { caller: verified, accessToken }
    })
  if (caller) exchange.session = { caller, accessToken }
  return undefined
}

/** @throws Problem 401 without a valid token */
export function requireCaller({ c, session }: Exchange): Caller {
  if (session) return session.caller
  throw unauthorized({ invalid: bearerToken(c.req.header('Authorization')) !== undefined })
}

/**
 * Checks the session of a token where no statement of the operation will: a refusal comes before the
 * statement. So a token that was revoked learns nothing. A live session is not asked for again for a second
 * where no limit counts the request, which would otherwise cost a statement each time.
 * @throws SessionEnded
 */
export async function requireLiveSession({ deps, session, verdicts }: Exchange): Promise<void> {
  if (!session) return
  const { accessTokens, db } = deps
  const isFree = verdicts.every(({ counted }) => !counted)
  if (isFree && accessTokens.isConfirmed(session.accessToken)) return
  const confirm = accessTokens.startConfirming(session.accessToken)
  await checkSession(db, session.caller)
  confirm()
}

/**
 * For a session that turned out to have ended: its token counts as invalid, and the request for the address.
 * @throws Problem 429
 */
export async function rejectSession(exchange: Exchange): Promise<void> {
  if (exchange.session) exchange.deps.accessTokens.forget(exchange.session.accessToken)
  await countAsAnonymous(exchange)
}
