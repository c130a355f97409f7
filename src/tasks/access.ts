/** Access rules: who may see, change and delete a task, as SQL for statements about a task `t`. */
import type { Database } from '../ports/database.ts'

/** Columns whose user sees the task. Each has an index for every ordering of a list. */
export const viewers = ['created_by', 'assigned_to'] as const

/** Viewers may change the task, too. */
export const maySee = (userId: string) =>
  `(${viewers.map((column) => `t.${column} = ${userId}`).join(' or ')})`

export const mayDelete = (userId: string) => `t.created_by = ${userId}`

/** The users who could see the task as any of these rows has it, as a JSON array with nulls. */
export const audience = (...rows: string[]) =>
  `json_build_array(${rows.flatMap((row) => viewers.map((column) => `${row}.${column}`)).join(', ')})`

/** The ids of those whose cached answers a write of the task makes stale. */
export type Audience = (number | null)[]

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
    from visible t cross join lateral json_array_elements_text(${audience('t')}) viewer where viewer <> $1::text`
  const [row] = await tx.query<{ viewers: string[] }>(text, [userId], { timeoutMs })
  return (row?.viewers ?? []).map(Number)
}
