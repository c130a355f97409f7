/** Periodic work on the database: hourly on Node, by a cron trigger on Workers, by a schedule on Lambda. */
import type { PendingQuery, Row } from 'postgres'
import type { Database, SqlTag } from '../ports/database.ts'
import { fillSearchText } from '../tasks/fill-search-text.ts'

const limitMs = 60_000
/** Rows that one statement deletes. Small batches keep what they deleted when a later one fails. */
const batchSize = 10_000

/** Deletes expired rows, then fills in search texts until `signal` aborts. */
export async function maintain(db: Database, signal: AbortSignal) {
  await deleteExpired(db)
  await fillSearchText(db, signal)
}

/** Deletes sessions a day after their end, and idempotency keys after 24 hours, whichever of these fails. */
export async function deleteExpired(db: Database) {
  const kinds = [
    (sql: SqlTag) => sql`
      delete from sessions where id in (
        select id from sessions where expires_at < now() - interval '1 day' limit ${batchSize})`,
    (sql: SqlTag) => sql`
      delete from sessions where id in (
        select id from sessions where ended_at < now() - interval '1 day' limit ${batchSize})`,
    (sql: SqlTag) => sql`
      delete from idempotency_keys where (user_id, key) in (
        select user_id, key from idempotency_keys where created_at < now() - interval '24 hours' limit ${batchSize})`,
  ]
  const outcomes = await Promise.allSettled(kinds.map((build) => deleteAll(db, build)))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

async function deleteAll(db: Database, build: (sql: SqlTag) => PendingQuery<Row[]>) {
  const begun = performance.now()
  for (let rest = limitMs; rest > 0; rest = limitMs - (performance.now() - begun)) {
    const { count } = await db.run(build, { timeoutMs: Math.ceil(rest) })
    if (count < batchSize) return
  }
}
