/** Access rules: who may see, change and delete a task, as SQL for statements about a task `t`. */
import type { Database } from '../ports/database.ts'

/** Columns whose user sees the task. Each has an index for every ordering of a list. */
export const viewers = ['created_by', 'assigned_to'] as const

/** Viewers may change the task, too. */
export const maySee = (userId: string) =>
  `(${viewers.map((column) => `t.${column} = ${userId}`).join(' or ')})`

export const mayDelete = (userId: string) => `t.created_by = ${userId}`

/** The ids of those whose cached answers a write of the task makes stale: who could see it, before or after. */
export type Audience = (number | null)[]

type Viewers = Record<(typeof viewers)[number], number | null>

export const audienceOf = (row: Viewers): Audience => viewers.map((column) => row[column])

/**
 * For the deletion of an account, before it and in its transaction, with the user's row locked. Locks the
 * tasks that the user created, so that a concurrent reassignment cannot hide its new assignee.
 * @returns the ids of all other users who see one of the user's tasks
 */
export async function lockTasksOf(tx: Database, userId: number, timeoutMs: number): Promise<number[]> {
  const columns = viewers.map((column) => `t.${column}`).join(', ')
  const text = `
    with created as materialized (select ${columns} from tasks t where t.created_by = $1 for update),
    visible as (
      select * from created
      union all
      select ${columns} from tasks t where t.assigned_to = $1 and t.created_by <> $1
    )
    select coalesce(json_agg(distinct viewer), '[]') viewers
    from visible t cross join lateral unnest(array[${columns}]) viewer where viewer <> $1`
  const [row] = await tx.query<{ viewers: number[] }>(text, [userId], { timeoutMs })
  return row?.viewers ?? []
}
