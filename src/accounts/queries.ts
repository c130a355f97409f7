/** The accounts' statements, one a function. */

import type { Caller } from '../auth/access-tokens.ts'
import type { Position } from '../http/cursor.ts'
import { pageOrder } from '../http/page-rows.ts'
import type { Database, SqlTag } from '../ports/database.ts'

export type UserRow = { id: number; username: string; email: string | null; created_at: string }
type UserWithHash = UserRow & { password_hash: string }

export type SessionRow = {
  id: number
  user_id: number
  salt: string
  generation: number
  /** Newest last; `at` in ms since the epoch. */
  spent: { generation: number; at: number }[]
  created_at: string
  last_used_at: string
  expires_at: string
  user_agent: string | null
}

/** Rejects with SQLSTATE 23505 on `users_username_key` when the name is taken. */
export async function insertUser(
  db: Database,
  user: { username: string; email: string | null; passwordHash: string },
) {
  const [row] = await db.run(
    (sql) => sql<[UserRow]>`
      insert into users (username, email, password_hash)
      values (${user.username}, ${user.email}, ${user.passwordHash})
      returning id, username, email, extract(epoch from created_at) created_at`,
  )
  return row
}

/** A disabled user is as unknown as nobody, for the answer and for the time it takes. */
export async function findUserByName(db: Database, username: string) {
  const [row] = await db.run(
    (sql) => sql<{ id: number; password_hash: string }[]>`
      select id, password_hash from users
      where lower(username collate "C") = lower(${username}::text collate "C") and disabled_at is null`,
    { read: true },
  )
  return row
}

/** Undefined when the session has ended or the account has gone. */
export async function findCaller(db: Database, { userId, sessionId }: Caller) {
  const [row] = await db.run(
    (sql) => sql<UserWithHash[]>`
      select u.id, u.username, u.email, extract(epoch from u.created_at) created_at, u.password_hash
      from sessions s join users u on u.id = s.user_id
      where s.id = ${sessionId} and s.user_id = ${userId} and s.ended_at is null`,
    { read: true },
  )
  return row
}

/** Undefined when the caller's session has ended; a list, empty perhaps, otherwise. Passes over disabled users. */
export async function findUsers(db: Database, caller: Caller, prefix: string) {
  const pattern = `${prefix.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const rows = await db.run(
    (sql) => sql<{ id: number | null; username: string | null }[]>`
      select u.id, u.username
      from sessions s left join lateral (
        select id, username from users where lower(username collate "C") like ${pattern} and disabled_at is null
        order by lower(username collate "C") limit 20
      ) u on true
      where s.id = ${caller.sessionId} and s.user_id = ${caller.userId} and s.ended_at is null
      order by lower(u.username collate "C")`,
    { read: true },
  )
  return rows.length === 0 ? undefined : rows.filter(({ id }) => id !== null)
}

export async function updateEmail(db: Database, { userId, sessionId }: Caller, email: string | null) {
  const [row] = await db.run(
    (sql) => sql<UserRow[]>`
      update users u set email = ${email}
      from sessions s
      where u.id = s.user_id and s.id = ${sessionId} and s.user_id = ${userId} and s.ended_at is null
      returning u.id, u.username, u.email, extract(epoch from u.created_at) created_at`,
  )
  return row
}

/**
 * Locks the user's row first of all, so that a login with the old password, which locks it too, either comes before and
 * has its session ended, or comes after and fails. Undefined when the password was changed meanwhile, or the session has ended.
 */
export async function updateUser(
  db: Database,
  caller: Caller,
  change: { from: string; to: string; email: string | null | undefined },
) {
  const [row] = await db.run(
    (sql) => sql<UserRow[]>`
      update users set password_hash = ${change.to},
        email = case when ${change.email !== undefined} then ${change.email ?? null} else email end
      where id = ${caller.userId} and password_hash = ${change.from} and ${isLive(sql, caller)}
      returning id, username, email, extract(epoch from created_at) created_at`,
  )
  return row
}

/** Checking a password takes its time, in which the caller's session may have ended. */
const isLive = (sql: SqlTag, { userId, sessionId }: Caller) => sql`
  exists (select from sessions where id = ${sessionId} and user_id = ${userId} and ended_at is null)`

/** For a login that found the hash to be of another cost than is set now. False when it was changed meanwhile. */
export async function renewHash(db: Database, userId: number, change: { from: string; to: string }) {
  const rows = await db.run(
    (sql) => sql`
      update users set password_hash = ${change.to} where id = ${userId} and password_hash = ${change.from}
      returning id`,
  )
  return rows.length > 0
}

/** From then on nobody can be given a task by, or to, this user. False when the password was changed, or the session ended. */
export async function lockUser(tx: Database, caller: Caller, passwordHash: string) {
  const rows = await tx.run(
    (sql) => sql`
      select id from users
      where id = ${caller.userId} and password_hash = ${passwordHash} and ${isLive(sql, caller)}
      for update`,
  )
  return rows.length > 0
}

/**
 * The creator's tasks, sessions and keys go with the account; tasks assigned to it are unassigned by the database. Answers who
 * else saw any of these tasks: all of them, when the user was locked by an earlier statement of the transaction. The tasks are
 * locked, since one that is being given to somebody else at this moment would name only whom it was taken from.
 */
export async function deleteUser(tx: Database, userId: number, timeoutMs: number): Promise<number[]> {
  const [row] = await tx.run(
    (sql) => sql<[{ touched: number[] }]>`
      with mine as materialized (
        select assigned_to from tasks where created_by = ${userId} for update
      ), touched as materialized (
        select assigned_to id from mine where assigned_to is not null
        union
        select created_by from tasks where assigned_to = ${userId}
      ), gone as (
        delete from users where id = ${userId} returning id
      )
      select coalesce(json_agg(touched.id), '[]') touched from touched where exists (select from gone)`,
    { timeoutMs },
  )
  return row.touched
}

/** A user has at most so many live sessions; past it the one that was used least recently ends. */
export const sessionsPerUser = 1000

/**
 * Undefined when the password was changed, or the account disabled or deleted, since the hash was read: see updateUser. `ended`
 * is how many others had to go for it.
 */
export async function insertSession(
  db: Database,
  user: { id: number; passwordHash: string },
  session: { salt: string; userAgent: string | null; expiresAt: number },
) {
  const [row] = await db.run(
    (sql) => sql<{ id: number; ended: number }[]>`
      with owner as (
        select id from users where id = ${user.id} and password_hash = ${user.passwordHash} for share
      ), ended as (
        update sessions set ended_at = now()
        where ended_at is null and id in (
          select s.id from sessions s join owner on s.user_id = owner.id where s.ended_at is null
          order by s.last_used_at desc, s.id desc offset ${sessionsPerUser - 1})
        returning id
      )
      insert into sessions (user_id, salt, user_agent, expires_at)
      select id, ${session.salt}, ${session.userAgent}, ${rfc3339(session.expiresAt)} from owner
      returning id, (select count(*) from ended)::int ended`,
  )
  return row
}

/** Of a session that has not ended and not run out. */
export async function findSession(db: Database, id: number, now: number) {
  const [row] = await db.run(
    (sql) => sql<SessionRow[]>`
      select id, user_id, salt, generation, spent, extract(epoch from created_at) created_at,
        extract(epoch from last_used_at) last_used_at, extract(epoch from expires_at) expires_at, user_agent
      from sessions
      where id = ${id} and ended_at is null and expires_at > ${rfc3339(now)}`,
    { read: true },
  )
  return row
}

export type SessionKey = Pick<SessionRow, 'id' | 'user_id' | 'salt'>

/** Whether it has ended or not. */
export async function findSessionKey(db: Database, id: number) {
  const [row] = await db.run(
    (sql) => sql<SessionKey[]>`select id, user_id, salt from sessions where id = ${id}`,
    { read: true },
  )
  return row
}

/** False when another refresh came first, or the session has ended meanwhile. */
export async function advanceSession(
  db: Database,
  session: Pick<SessionRow, 'id' | 'generation' | 'spent'>,
  use: { now: number; expiresAt: number },
) {
  const rows = await db.run(
    (sql) => sql`
      update sessions set
        generation = generation + 1,
        spent = ${sql.json(session.spent)},
        last_used_at = ${rfc3339(use.now)},
        expires_at = ${rfc3339(use.expiresAt)}
      where id = ${session.id} and generation = ${session.generation} and ended_at is null
      returning id`,
  )
  return rows.length > 0
}

export async function endSession(db: Database, id: number) {
  await db.run((sql) => sql`update sessions set ended_at = now() where id = ${id} and ended_at is null`)
}

export async function endOtherSessions(db: Database, { userId, sessionId }: Caller) {
  await db.run(
    (sql) => sql`
      update sessions set ended_at = now()
      where user_id = ${userId} and id <> ${sessionId} and ended_at is null`,
  )
}

/** Ends one of the caller's own sessions; `live` is whether the caller's session is. Null stands for an id that is none. */
export async function endOwnSession(
  db: Database,
  { userId, sessionId }: Caller,
  id: number | null,
  now: number,
) {
  const [row] = await db.run(
    (sql) => sql<[{ live: boolean; ended: boolean }]>`
      with caller as materialized (
        select user_id from sessions where id = ${sessionId} and user_id = ${userId} and ended_at is null
      ), ended as (
        update sessions s set ended_at = now()
        from caller
        where s.id = ${id}::bigint and s.user_id = caller.user_id and s.ended_at is null
          and s.expires_at > ${rfc3339(now)}
        returning s.id
      )
      select exists (select from caller) live, exists (select from ended) ended`,
  )
  return row
}

export type ListedSession = Omit<SessionRow, 'user_id' | 'salt' | 'generation' | 'spent'>

/**
 * A page of the caller's live sessions, newest first, and one more where there is one; in the reverse order for a
 * position with direction `before`. Undefined when the caller's own session has ended.
 */
export async function findLiveSessions(
  db: Database,
  { userId, sessionId }: Caller,
  page: { now: number; limit: number; position: Position | null },
) {
  const rows = await db.run(
    (sql) => {
      const newest = { key: sql`s.created_at`, type: sql`timestamptz`, descending: true }
      const { order, place } = pageOrder(sql, newest, page.position)
      return sql<(ListedSession | { id: null })[]>`
        select s.id, extract(epoch from s.created_at) created_at,
          extract(epoch from s.last_used_at) last_used_at, extract(epoch from s.expires_at) expires_at,
          s.user_agent
        from sessions caller left join lateral (
          select id, created_at, last_used_at, expires_at, user_agent
          from sessions s
          where user_id = caller.user_id and ended_at is null
            and (expires_at > ${rfc3339(page.now)} or id = caller.id) ${place}
          order by ${order} limit ${page.limit + 1}
        ) s on true
        where caller.id = ${sessionId} and caller.user_id = ${userId} and caller.ended_at is null
        order by ${order}`
    },
    { read: true },
  )
  return rows.length === 0 ? undefined : rows.filter((row): row is ListedSession => row.id !== null)
}

export const rfc3339 = (ms: number) => new Date(ms).toISOString()
