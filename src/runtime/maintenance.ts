/** Work beside the requests: now and then on Node, by a cron trigger at the edge, by a schedule on Lambda. */
import type { PendingQuery, Row } from 'postgres'
import type { Database, SqlTag } from '../ports/database.ts'
import { fillSearchText } from '../tasks/fill-search-text.ts'

const limitMs = 60_000
/** Rows that one statement removes: what is removed stays so, however much there is, and whatever comes in between. */
const together = 10_000

/** Removes what nobody asks for any more, then fills in search texts until `signal` ends that. */
export async function maintain(db: Database, signal: AbortSignal) {
  await prune(db)
  await fillSearchText(db, signal)
}

/** Sessions that ended or ran out a day ago, and idempotency keys that no longer answer. One kind never waits for another. */
export async function prune(db: Database) {
  const kinds = [
    (sql: SqlTag) => sql`
      delete from sessions where id in (
        select id from sessions where expires_at < now() - interval '1 day' limit ${together})`,
    (sql: SqlTag) => sql`
      delete from sessions where id in (
        select id from sessions where ended_at < now() - interval '1 day' limit ${together})`,
    (sql: SqlTag) => sql`
      delete from idempotency_keys where (user_id, key) in (
        select user_id, key from idempotency_keys where created_at < now() - interval '24 hours' limit ${together})`,
  ]
  const outcomes = await Promise.allSettled(kinds.map((build) => removeAll(db, build)))
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

async function removeAll(db: Database, build: (sql: SqlTag) => PendingQuery<Row[]>) {
  const begun = performance.now()
  for (let rest = limitMs; rest > 0; rest = limitMs - (performance.now() - begun)) {
    const { count } = await db.run(build, { timeoutMs: Math.ceil(rest) })
    if (count < together) return
  }
}
