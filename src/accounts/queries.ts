/** The accounts' statements, one a function. */
import { actingCaller, type Caller, isLive, queryAs } from '../auth/caller.ts'
import type { Database } from '../ports/database.ts'
import { keyset, type Position } from '../resource/page.ts'

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

/** Leaves out disabled users, so that a login takes the same time for them as for unknown names. */
export async function findUserByName(db: Database, username: string) {
  const [row] = await db.run(
    (sql) => sql<{ id: number; password_hash: string }[]>`
      select id, password_hash from users
      where lower(username collate "C") = lower(${username}::text collate "C") and disabled_at is null`,
    { read: true },
  )
  return row
}

const columns = 'u.id, u.username, u.email, extract(epoch from u.created_at) created_at'

/** @throws SessionEnded */
export async function findCaller(db: Database, caller: Caller) {
  const text = `
    select ${columns}, u.password_hash from sessions s join users u on u.id = s.user_id where ${isLive}`
  const [user] = await queryAs<UserWithHash>(db, caller, text, [], { read: true })
  return user
}

/** Leaves out disabled users. @throws SessionEnded */
export async function findUsers(db: Database, caller: Caller, prefix: string) {
  const pattern = `${prefix.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
  const text = `
    select u.id, u.username
    from sessions s left join lateral (
      select id, username from users where lower(username collate "C") like $3 and disabled_at is null
      order by lower(username collate "C") limit 20
    ) u on true
    where ${isLive}
    order by lower(u.username collate "C")`
  const rows = await queryAs<{ id: number | null; username: string | null }>(db, caller, text, [pattern], {
    read: true,
  })
  return rows.filter(({ id }) => id !== null)
}

/** @throws SessionEnded */
export async function updateEmail(db: Database, caller: Caller, email: string | null) {
  const text = `
    update users u set email = $3 from sessions s where u.id = s.user_id and ${isLive} returning ${columns}`
  const [user] = await queryAs<UserRow>(db, caller, text, [email])
  return user
}

/**
 * Locks the user's row first, so that a login with the old password, which locks it too, either comes before
 * and has its session ended, or comes after and fails. Undefined when the password was changed meanwhile, or
 * the session ended.
 */
export async function updateUser(
  db: Database,
  { sessionId, userId }: Caller,
  change: { from: string; to: string; email: string | null | undefined },
): Promise<UserRow | undefined> {
  const text = `
    update users u set password_hash = $3, email = case when $4 then $5 else email end
    where u.id = $2 and u.password_hash = $6 and exists (select from sessions s where ${isLive})
    returning ${columns}`
  const values = [sessionId, userId, change.to, change.email !== undefined, change.email ?? null, change.from]
  const [row] = await db.query<UserRow>(text, values)
  return row
}

/** Replaces a hash at a login. False when it was changed meanwhile. */
export async function renewHash(db: Database, userId: number, change: { from: string; to: string }) {
  const rows = await db.run(
    (sql) => sql`
      update users set password_hash = ${change.to} where id = ${userId} and password_hash = ${change.from}
      returning id`,
  )
  return rows.length > 0
}

/** Locks the user's row. False when the password was changed, or the session ended. */
export async function lockUser(tx: Database, { sessionId, userId }: Caller, passwordHash: string) {
  const text = `
    select from users u
    where u.id = $2 and u.password_hash = $3 and exists (select from sessions s where ${isLive})
    for update`
  return (await tx.query(text, [sessionId, userId, passwordHash])).length > 0
}
/** Cascades to the user's own tasks, sessions and keys; other tasks become unassigned. */
export async function deleteUser(tx: Database, userId: number, timeoutMs: number) {
  await tx.query('delete from users where id = $1', [userId], { timeoutMs })
}

/** Live sessions of a user at most; past it the least recently used one ends. */
export const sessionsPerUser = 1000

/**
 * Undefined when the password was changed, or the account disabled or deleted, since the hash was read: see
 * updateUser. `evicted` is how many other sessions ended for it.
 */
export async function insertSession(
  db: Database,
  user: { id: number; passwordHash: string },
  session: { salt: string; userAgent: string | null; expiresAt: number },
) {
  const [row] = await db.run(
    (sql) => sql<{ id: number; evicted: number }[]>`
      with owner as (
        select id from users where id = ${user.id} and password_hash = ${user.passwordHash} for share
      ), evicted as (
        update sessions set ended_at = now()
        where ended_at is null and id in (
          select s.id from sessions s join owner on s.user_id = owner.id where s.ended_at is null
          order by s.last_used_at desc, s.id desc offset ${sessionsPerUser - 1})
        returning id
      )
      insert into sessions (user_id, salt, user_agent, expires_at)
      select id, ${session.salt}, ${session.userAgent}, ${rfc3339(session.expiresAt)} from owner
      returning id, (select count(*) from evicted)::int evicted`,
  )
  return row
}

/** Finds a session that has neither ended nor expired. */
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

/** Finds a session, ended or not. */
export async function findSessionKey(db: Database, id: number) {
  const [row] = await db.run(
    (sql) => sql<SessionKey[]>`select id, user_id, salt from sessions where id = ${id}`,
    { read: true },
  )
  return row
}

/** False when another refresh came first, or the session ended meanwhile. */
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
/** Whether the caller had such a live session; a null id is none. @throws SessionEnded */
export async function endOwnSession(db: Database, caller: Caller, id: number | null, now: number) {
  const text = `
    with ${actingCaller}, ended as (
      update sessions s set ended_at = now()
      from caller
      where s.id = $3::bigint and s.user_id = caller.user_id and s.ended_at is null and s.expires_at > $4
      returning s.id
    )
    select exists (select from ended) has_ended from caller`
  const [row] = await queryAs<{ has_ended: boolean }>(db, caller, text, [id, rfc3339(now)])
  return row.has_ended
}

export type ListedSession = Omit<SessionRow, 'user_id' | 'salt' | 'generation' | 'spent'>

/**
 * A page of the caller's live sessions, newest first, and one row more where there is one; in the reverse
 * order for a position with direction `before`. @throws SessionEnded
 */
export async function findLiveSessions(
  db: Database,
  caller: Caller,
  { now, limit, position }: { now: number; limit: number; position: Position | null },
) {
  const values: (string | number | boolean | null)[] = [rfc3339(now), limit + 1]
  const { orderBy, beyond } = keyset(
    { key: 'created_at', type: 'timestamptz' },
    { descending: true, position, add: (value) => `$${values.push(value) + 2}` },
  )
  const text = `
    select o.id, extract(epoch from o.created_at) created_at, extract(epoch from o.last_used_at) last_used_at,
      extract(epoch from o.expires_at) expires_at, o.user_agent
    from sessions s left join lateral (
      select id, created_at, last_used_at, expires_at, user_agent
      from sessions
      where user_id = s.user_id and ended_at is null and (expires_at > $3 or id = s.id) ${beyond}
      order by ${orderBy('created_at')} limit $4
    ) o on true
    where ${isLive}
    order by ${orderBy('o.created_at', 'o.id')}`
  const rows = await queryAs<ListedSession | { id: null }>(db, caller, text, values, { read: true })
  return rows.filter((row): row is ListedSession => row.id !== null)
}

export const rfc3339 = (ms: number) => new Date(ms).toISOString()
