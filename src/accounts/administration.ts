/** What an operator does with accounts by hand. */
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

/** By name; those whose name begins so, without case. */
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

/** The database ends the sessions of whoever becomes disabled. Undefined when there is nobody of that name. */
export async function setDisabled(db: Database, username: string, disabled: boolean) {
  const [row] = await db.run(
    (sql) => sql<Named[]>`
      update users set disabled_at = case when ${disabled} then coalesce(disabled_at, now()) end
      where lower(username collate "C") = lower(${username}::text collate "C")
      returning id, username`,
  )
  return row
}

/** Undefined when there is nobody of that name. Every session ends. */
export async function replacePassword(db: Database, username: string, passwordHash: string) {
  return db.transaction(async (tx) => {
    // First: a login with the old password locks the row, too, and either has its session ended below or fails.
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

/** Of one user, or null: of everybody. Answers how many ended, and whose they were. */
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
