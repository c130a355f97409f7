/** Statements behind the operator's command for accounts. */
import type { Database } from '../ports/database.ts'
import { rfc3339 } from './queries.ts'

export type AccountSummary = {
  id: number
  username: string
  email: string | null
  created_at: string
  disabled_at: string | null
  live_sessions: number
  last_used_at: string | null
}

type Named = { id: number; username: string }

/** Accounts whose name begins with the prefix, ignoring case, by name. */
export async function listAccounts(db: Database, prefix: string, now: number) {
  return db.run(
    (sql) => sql<AccountSummary[]>`
      select u.id, u.username, u.email, extract(epoch from u.created_at) created_at,
        extract(epoch from u.disabled_at) disabled_at,
        count(s.id)::int live_sessions, extract(epoch from max(s.last_used_at)) last_used_at
      from users u left join sessions s
        on s.user_id = u.id and s.ended_at is null and s.expires_at > ${rfc3339(now)}
      where starts_with(lower(u.username collate "C"), lower(${prefix}::text collate "C"))
      group by u.id
      order by lower(u.username collate "C")`,
  )
}

/** A trigger ends the sessions of a user who becomes disabled. Undefined for an unknown name. */
export async function setDisabled(db: Database, username: string, disabled: boolean) {
  const [row] = await db.run(
    (sql) => sql<Named[]>`
      update users set disabled_at = case when ${disabled} then coalesce(disabled_at, now()) end
      where lower(username collate "C") = lower(${username}::text collate "C")
      returning id, username`,
  )
  return row
}

/** Ends every session of the user. Undefined for an unknown name. */
export async function replacePassword(db: Database, username: string, passwordHash: string) {
  return db.transaction(async (tx) => {
    // Locks the row first: a login with the old password locks it too, and either fails or has its session
    // ended below.
    const [row] = await tx.run(
      (sql) => sql<(Named & { disabled: boolean })[]>`
        update users set password_hash = ${passwordHash}
        where lower(username collate "C") = lower(${username}::text collate "C")
        returning id, username, disabled_at is not null disabled`,
    )
    if (row) await endSessionsOf(tx, row.id)
    return row
  })
}

/** Ends the sessions of one user, or of all users for null. Returns how many ended, and their users' ids. */
export async function endSessionsOf(db: Database, userId: number | null) {
  const [row] = await db.run(
    (sql) => sql<[{ count: number; users: number[] }]>`
      with ended as (
        update sessions set ended_at = now()
        where ended_at is null and (${userId}::bigint is null or user_id = ${userId}::bigint)
        returning user_id
      )
      select count(*)::int count, coalesce(json_agg(distinct user_id), '[]') users from ended`,
  )
  return row
}

export async function findAccount(db: Database, username: string) {
  const [row] = await db.run(
    (sql) => sql<Named[]>`
      select id, username from users
      where lower(username collate "C") = lower(${username}::text collate "C")`,
  )
  return row
}
