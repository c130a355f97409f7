/** What nobody asks for any more is removed: now and then on Node, by a cron trigger at the edge. */
import type { Database } from './database.ts'

const timeoutMs = 60_000

/** Sessions that ended or ran out a day ago, and idempotency keys that no longer answer. */
export async function prune(db: Database) {
  await db.run(
    (sql) => sql`
      delete from sessions
      where expires_at < now() - interval '1 day' or ended_at < now() - interval '1 day'`,
    { timeoutMs },
  )
  await db.run((sql) => sql`delete from idempotency_keys where created_at < now() - interval '24 hours'`, {
    timeoutMs,
  })
}
