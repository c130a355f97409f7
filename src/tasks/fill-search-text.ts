/** Fills in the search text of tasks that were written before the column existed. */
import type { Database } from '../ports/database.ts'

/** Rows that one statement locks: few enough that a write of one of them waits some 0.1 s at most. */
const batchSize = 500

/**
 * Runs until no task is left or `signal` aborts; several processes may run it at once. A trigger makes the
 * text; neither the version nor `updated_at` changes. Skips locked rows: the trigger of the other write fills
 * them in.
 */
export async function fillSearchText(db: Database, signal: AbortSignal) {
  let after = 0
  while (!signal.aborted) {
    const begun = performance.now()
    const [row] = await db.run(
      (sql) => sql<[{ last: number | null }]>`
        with batch as materialized (
          select id from tasks where search_text is null and id > ${after}
          order by id limit ${batchSize}
          for update skip locked
        ), filled as (
          update tasks set title = title from batch where tasks.id = batch.id returning tasks.id
        )
        select max(id) as last from filled`,
    )
    if (row.last === null) return
    after = row.last
    // Leaves half of the time to other statements.
    await new Promise((resolve) => setTimeout(resolve, performance.now() - begun))
  }
}
