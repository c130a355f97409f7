/** Fills in what a search looks into where a task has none: those that were written before the column was there. */
import type { Database } from '../ports/database.ts'

/** Rows that one statement locks: few enough for a write of one of them to wait for some 0.1 s. */
const together = 500

/**
 * Goes through what is left until there is none or `signal` ends it; any number of processes may do so at once. A trigger
 * makes the text, and no other column changes: neither the version nor `updated_at`. Rows that are being written are passed over,
 * as their writers' trigger fills them in.
 */
export async function fillSearchText(db: Database, signal: AbortSignal) {
  let after = 0
  while (!signal.aborted) {
    const begun = performance.now()
    const [row] = await db.run(
      (sql) => sql<[{ last: number | null }]>`
        with batch as materialized (
          select id from tasks where search_text is null and id > ${after}
          order by id limit ${together}
          for update skip locked
        ), filled as (
          update tasks set title = title from batch where tasks.id = batch.id returning tasks.id
        )
        select max(id) as last from filled`,
    )
    if (row.last === null) return
    after = row.last
    // Half of the time is left to others.
    await new Promise((resolve) => setTimeout(resolve, performance.now() - begun))
  }
}
