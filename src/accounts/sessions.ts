/** Logging in, refreshing and logging out. The session's row is the authority; tokens only refer to it. */

import type { Caller } from '../auth/caller.ts'
import { readRefreshToken } from '../auth/refresh-tokens.ts'
import type { Deps } from '../http/deps.ts'
import type { Position } from '../resource/page.ts'
import { pageOf } from '../resource/page.ts'
import * as queries from './queries.ts'

/** A spent token presented again within this time means two tabs or a lost answer; later it means theft. */
const graceMs = 10_000
/** Attempts of a refresh while other refreshes of the session come first. */
const refreshAttempts = 10

export type TokenAnswer = {
  access_token: string
  token_type: 'Bearer'
  expires_in: number
  refresh_token: string
}

type Session = { id: number; userId: number; salt: string; generation: number; expiresAt: number }

/** Null when the password was changed since `user` was read. */
export async function startSession(
  deps: Deps,
  user: { id: number; passwordHash: string },
  userAgent: string | null,
): Promise<TokenAnswer | null> {
  const salt = crypto.randomUUID()
  const now = deps.now()
  const expiresAt = expiry(deps, now, now)
  const session = await queries.insertSession(deps.db, user, { salt, userAgent, expiresAt })
  if (!session) return null
  if (session.evicted > 0) await afterSessionsEnded(deps, [user.id])
  return answerTokens(deps, { id: session.id, userId: user.id, salt, generation: 1, expiresAt })
}

/** Null for an invalid token. One that was spent longer than `graceMs` ago ends its session. */
export async function refreshSession(
  deps: Deps,
  token: string,
  identified: (userId: number) => void,
): Promise<TokenAnswer | null> {
  const claim = readRefreshToken(token)
  for (let attempt = 0; claim && attempt < refreshAttempts; attempt++) {
    const now = deps.now()
    const row = await queries.findSession(deps.db, claim.sessionId, now)
    if (!row || claim.generation > row.generation || !(await deps.refreshTokens.isGenuine(token, row.salt)))
      return null
    identified(row.user_id)
    const session = { id: row.id, userId: row.user_id, salt: row.salt }
    const recent = row.spent.filter(({ at }) => now - at < graceMs)
    if (claim.generation < row.generation) {
      if (!recent.some(({ generation }) => generation === claim.generation)) {
        await endSession(deps, row)
        return null
      }
      const generation = claim.generation + 1
      return answerTokens(deps, { ...session, generation, expiresAt: Date.parse(row.expires_at) })
    }
    const expiresAt = expiry(deps, Date.parse(row.created_at), now)
    const spent = [...recent, { generation: row.generation, at: now }]
    if (await queries.advanceSession(deps.db, { ...row, spent }, { now, expiresAt })) {
      return answerTokens(deps, { ...session, generation: row.generation + 1, expiresAt })
    }
  }
  return null
}

/** Ends the session that the token was issued for, spent or not; anything else changes nothing (RFC 7009). */
export async function revokeSession(deps: Deps, token: string): Promise<void> {
  const claim = readRefreshToken(token)
  // Also for an ended session: the request that ended it may not have invalidated the cache.
  const row = claim && (await queries.findSessionKey(deps.db, claim.sessionId))
  if (row && (await deps.refreshTokens.isGenuine(token, row.salt))) await endSession(deps, row)
}

/** Call after sessions of these users have ended and before responding. */
export async function afterSessionsEnded({ accessTokens, cache }: Deps, userIds: number[]): Promise<void> {
  accessTokens.doubtAll()
  await cache.invalidate(userIds)
}

async function endSession(deps: Deps, { id, user_id }: queries.SessionKey): Promise<void> {
  await queries.endSession(deps.db, id)
  await afterSessionsEnded(deps, [user_id])
}
/** False when the caller has no such live session. @throws SessionEnded */
export async function endOwnSession(deps: Deps, caller: Caller, id: number | null): Promise<boolean> {
  const hasEnded = await queries.endOwnSession(deps.db, caller, id, deps.now())
  // Also where it had ended before: the request that did so may not have invalidated the cache.
  await afterSessionsEnded(deps, [caller.userId])
  return hasEnded
}

/** @throws SessionEnded */
export async function listSessions(
  { db, now }: Deps,
  caller: Caller,
  { limit, position }: { limit: number; position: Position | null },
) {
  const found = await queries.findLiveSessions(db, caller, { now: now(), limit, position })
  const { rows, next, previous } = pageOf(found, {
    size: limit,
    from: position,
    keyOf: (row) => row.created_at,
  })
  return { results: rows.map((row) => ({ ...row, current: row.id === caller.sessionId })), next, previous }
}

/** When a session expires that began at `createdAt` and is used `now`; all in ms since the epoch. */
function expiry({ config: { tokens } }: Deps, createdAt: number, now: number) {
  return Math.min(now + tokens.sessionIdleTtlMs, createdAt + tokens.sessionMaxTtlMs)
}

async function answerTokens(deps: Deps, session: Session): Promise<TokenAnswer> {
  const now = deps.now()
  // No access token outlives its session, so requests need not check whether the session has expired.
  const expiresAt = Math.min(now + deps.config.tokens.accessTtlMs, session.expiresAt)
  return {
    access_token: await deps.accessTokens.issue({ userId: session.userId, sessionId: session.id }, expiresAt),
    token_type: 'Bearer',
    expires_in: Math.max(0, Math.floor(expiresAt / 1000) - Math.floor(now / 1000)),
    refresh_token: await deps.refreshTokens.issue(
      { sessionId: session.id, generation: session.generation },
      session.salt,
    ),
  }
}
