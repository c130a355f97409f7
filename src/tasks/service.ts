/** The operations on tasks. Every function may throw SessionEnded, having done nothing. */
import postgres from 'postgres'
import { type Caller, SessionEnded } from '../auth/caller.ts'
import { invalidInput, notFound, Problem, unavailable } from '../core/problem.ts'
import { type Precondition, preconditionFailed } from '../http/conditional.ts'
import type { Deps } from '../http/deps.ts'
import type { IdempotencyKey } from '../http/idempotency.ts'
import { DatabaseUnavailableError, DeadlineError } from '../ports/database.ts'
import { type Position, pageOf } from '../resource/page.ts'
import * as queries from './queries.ts'
import type { NewTask, Task, TaskChange, TaskListQuery } from './schemas.ts'

/** `tag` is the entity tag without its quotes. */
export type TaggedTask = { task: Task; tag: string }

/** In ms: a search reads every task that the user may see. */
const searchTimeoutMs = 2000

/** Tells a client that the precondition failed; without a full stop. */
export const changedSince = 'The task has changed since'

/**
 * In bytes of JSON, of the tasks of a page; a hundred ordinary ones are far below it. Lambda answers at most
 * 6 MB, with the body escaped once more, and everyone can be assigned tasks with descriptions full of control
 * characters.
 */
const maxPageBytes = 1024 * 1024
const utf8 = new TextEncoder()

export async function getTask({ db }: Deps, caller: Caller, id: number | null): Promise<TaggedTask> {
  const row = await queries.findTask(db, caller, id)
  if (!row) throw notFound()
  return tagged(row)
}

export async function createTask(deps: Deps, caller: Caller, input: NewTask): Promise<TaggedTask> {
  const { row, audience } = await translateErrors(() => queries.insertTask(deps.db, caller, input))
  if (row.status === 'completed') deps.eventRecorded()
  await deps.cache.invalidate(audience)
  return tagged(row)
}

/** `replayed`: the key was bound by an earlier request, and this is its answer. */
export async function createTaskOnce(
  deps: Deps,
  caller: Caller,
  input: NewTask,
  key: IdempotencyKey,
): Promise<TaggedTask & { replayed: boolean }> {
  const { response, tag, same, created, audience } = await translateErrors(() =>
    queries.insertTaskOnce(deps.db, caller, input, key),
  )
  if (!created && !same)
    throw new Problem(422, 'The Idempotency-Key was used with another body within 24 hours.')
  if (created && response.status === 'completed') deps.eventRecorded()
  // A repeat too: the first request may have been killed before its own invalidation.
  await deps.cache.invalidate(audience)
  return { task: response, tag, replayed: !created }
}

/** `id` is null for an id that cannot be a task's. */
type Target = { id: number | null; precondition: Precondition }

export async function changeTask(
  deps: Deps,
  caller: Caller,
  { id, change, precondition }: Target & { change: TaskChange },
): Promise<TaggedTask> {
  const { found, was, task, audience } = await translateErrors(() =>
    queries.updateTask(deps.db, caller, id, change, precondition),
  )
  if (found === null) throw notFound()
  if (!task) {
    // Input is checked before preconditions, but only a write checks the assignee, and only when it changes.
    const { assigned_to: assignee } = change
    const isNew = typeof assignee === 'number' && assignee !== was.assigned_to
    if (isNew && !(await queries.isAssignable(deps.db, assignee))) throw noSuchAssignee()
    throw preconditionFailed(changedSince, found)
  }
  if (task.status === 'completed' && was.status !== 'completed') deps.eventRecorded()
  // Also where nothing was left to change: the request that did may not have invalidated the cache yet.
  await deps.cache.invalidate(audience)
  return tagged(task)
}

export async function removeTask(
  { db, cache }: Deps,
  caller: Caller,
  { id, precondition }: Target,
): Promise<void> {
  const { found, may_delete, deleted, audience } = await queries.deleteTask(db, caller, id, precondition)
  // Also where it was deleted before, perhaps by an attempt that was never answered.
  await cache.invalidate([caller.userId, ...audience])
  if (found === null) throw notFound()
  if (!may_delete) throw new Problem(403, 'Only its creator may delete a task.')
  if (!deleted) throw preconditionFailed(changedSince, found)
}

/** Returns each task as JSON. A page may end early, at `maxPageBytes`. */
export async function listTasks(
  { db }: Deps,
  caller: Caller,
  query: TaskListQuery,
  position: Position | null,
) {
  const list = await (query.search === undefined
    ? queries.listTasks(db, caller, query, position)
    : queries.listTasks(db, caller, query, position, searchTimeoutMs).catch(searchTooSlow))
  const read = list.rows.map(({ id, key, task }) => ({ id, key, json: JSON.stringify(task) }))
  const { rows, ...pages } = pageOf(read, {
    size: rowsWithinBudget(read.slice(0, query.limit)),
    from: position,
    keyOf: ({ key }) => key,
  })
  return { tasks: rows.map(({ json }) => json), count: list.count, pages }
}

/** How many of the rows, in the order they were read, fit a page: at least one. */
function rowsWithinBudget(rows: { json: string }[]): number {
  const units = rows.reduce((sum, { json }) => sum + json.length, 0)
  // A UTF-16 unit has at most three bytes in UTF-8.
  if (3 * units <= maxPageBytes) return rows.length
  let bytes = 0
  const past = rows.findIndex(({ json }) => {
    bytes += utf8.encode(json).length
    return bytes > maxPageBytes
  })
  return past === -1 ? rows.length : Math.max(1, past)
}

const tagged = ({ tag, ...task }: queries.TaskRow): TaggedTask => ({ task, tag })

const noSuchAssignee = () => invalidInput([{ pointer: '/assigned_to', detail: 'There is no such user.' }])

/** The caller's account was deleted during the statement. */
const callerIsGone = new Set(['tasks_created_by_fkey', 'idempotency_keys_user_id_fkey'])

/** Translates what a constraint refused, and a wait for an idempotency key that took too long. */
async function translateErrors<T>(write: () => Promise<T>): Promise<T> {
  try {
    return await write()
  } catch (error) {
    if (error instanceof postgres.PostgresError) {
      if (error.constraint_name === 'tasks_assigned_to_fkey') throw noSuchAssignee()
      if (callerIsGone.has(error.constraint_name ?? '')) throw new SessionEnded()
    }
    const { cause } = error instanceof DatabaseUnavailableError ? error : {}
    // Any lock may have been waited for: Postgres names the table in the error's context.
    const isKeys = cause instanceof postgres.PostgresError && cause.where?.includes('idempotency_keys')
    if (isKeys && cause.code === '55P03')
      throw new Problem(409, 'The first request with this Idempotency-Key is still under way.', {
        headers: { 'Retry-After': '1' },
      })
    throw error
  }
}

function searchTooSlow(error: unknown): never {
  throw error instanceof DeadlineError ? unavailable('The search took too long; narrow it down.', 5) : error
}
