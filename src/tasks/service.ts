/** What can be done with tasks. Every verb answers `ended` when the caller's session has, having done nothing. */
import postgres from 'postgres'
import type { Caller } from '../auth/access-tokens.ts'
import { toBase64Url } from '../auth/keyring.ts'
import { invalidInput, notFound, Problem, unavailable } from '../core/problem.ts'
import type { Precondition } from '../http/conditional.ts'
import type { Position } from '../http/cursor.ts'
import type { Deps } from '../http/deps.ts'
import { pageOf } from '../http/page-rows.ts'
import { DatabaseUnavailableError, DeadlineError } from '../ports/database.ts'
import { listTasks as findTasks, type TaskList } from './list-query.ts'
import * as queries from './queries.ts'
import type { Task, TaskListQuery } from './schemas.ts'

export const ended = Symbol('ended')
type Ended = typeof ended

/** `tag` is the entity tag without its quotes. */
export type TaggedTask = { task: Task; tag: string }

/** A search reads whatever the user may see: it is not left to run for longer than this. */
const searchTimeoutMs = 2000

/**
 * The tasks of a page have at most so many bytes of JSON; a hundred ordinary ones are far below it. Lambda answers 6 MB at
 * most, with the body escaped as JSON once more, and everyone can be assigned tasks with descriptions of control characters.
 */
const maxPageBytes = 1024 * 1024
const utf8 = new TextEncoder()

export async function getTask({ db }: Deps, caller: Caller, id: number | null): Promise<TaggedTask | Ended> {
  const found = await queries.findTask(db, caller, id)
  if (!found) return ended
  if (!found.task) throw notFound()
  return tagged(found.task)
}

export async function createTask(
  deps: Deps,
  caller: Caller,
  input: queries.TaskValues & { title: string },
): Promise<TaggedTask | Ended> {
  const row = await naming(() => queries.insertTask(deps.db, caller, input))
  if (!row) return ended
  if (row.status === 'completed') deps.completionRecorded()
  await deps.cache.invalidate([row.created_by, row.assigned_to])
  return tagged(row)
}

/** `sent` is the body as parsed. `replayed`: the key was bound by an earlier request, whose answer this is. */
export async function createTaskOnce(
  deps: Deps,
  caller: Caller,
  input: queries.TaskValues & { title: string },
  { key, sent }: { key: string; sent: object },
): Promise<(TaggedTask & { replayed: boolean }) | Ended> {
  const hash = await fingerprint(sent)
  const result = await naming(() => queries.insertTaskOnce(deps.db, caller, input, { key, hash })).catch(
    keyInUse,
  )
  if (!result?.live || !result.response) return ended
  if (!result.created && !result.same) {
    throw new Problem(422, 'The Idempotency-Key was used with another body within 24 hours.')
  }
  if (result.created && result.response.status === 'completed') deps.completionRecorded()
  // A repeat too: the first may have been killed before it came to this, or be just about to.
  await deps.cache.invalidate([result.response.created_by, result.response.assigned_to])
  return { task: result.response, tag: result.tag, replayed: !result.created }
}

/** `id` is null for what can be no task's. */
type Target = { id: number | null; precondition: Precondition }

export async function changeTask(
  deps: Deps,
  caller: Caller,
  { id, change, precondition }: Target & { change: queries.TaskValues },
): Promise<TaggedTask | Ended> {
  const result = await naming(() => queries.updateTask(deps.db, caller, id, change, precondition))
  if (!result?.live) return ended
  if (result.found === null) throw notFound()
  if (!result.task) {
    // Input is judged before preconditions, but only a write has its assignee checked, and only when that changes.
    const { assigned_to: assignee } = change
    const isNew = typeof assignee === 'number' && assignee !== result.was?.assigned_to
    if (isNew && !(await queries.isAssignable(deps.db, assignee))) throw noSuchAssignee()
    throw changedSince(result.found)
  }
  if (result.task.status === 'completed' && result.was?.status !== 'completed') deps.completionRecorded()
  // Also where nothing was left to change, since the request that did may not have come to this yet.
  await deps.cache.invalidate([result.task.created_by, result.task.assigned_to, result.was?.assigned_to])
  return tagged(result.task)
}

export async function removeTask(
  { db, cache }: Deps,
  caller: Caller,
  { id, precondition }: Target,
): Promise<undefined | Ended> {
  const result = await queries.deleteTask(db, caller, id, precondition)
  if (!result.live) return ended
  // Also where it has gone already: by an attempt of the caller's, perhaps, that was never answered.
  await cache.invalidate([caller.userId, result.assigned_to])
  if (result.found === null) throw notFound()
  if (!result.mine) throw new Problem(403, 'Only its creator may delete a task.')
  if (!result.deleted) throw changedSince(result.found)
  return undefined
}

/** A page may end early, at `maxPageBytes`. */
export async function listTasks(
  { db }: Deps,
  caller: Caller,
  query: TaskListQuery,
  position: Position | null,
) {
  const list = await (query.search === undefined
    ? findTasks(db, caller, query, position)
    : findTasks(db, caller, query, position, searchTimeoutMs).catch(tooLong))
  if (!list) return ended
  const { rows, next, previous } = pageOf(list.rows, {
    size: fitting(list.rows.slice(0, query.limit)),
    from: position,
    keyOf: ({ key }) => key,
  })
  return { tasks: rows.map(({ task }) => task), count: list.count, next, previous }
}

/** How many of the rows, in the order they were read, make a page: one at least. */
function fitting(rows: TaskList['rows']): number {
  let bytes = 0
  const past = rows.findIndex(({ task }) => {
    bytes += utf8.encode(JSON.stringify(task)).length
    return bytes > maxPageBytes
  })
  return past === -1 ? rows.length : Math.max(1, past)
}

function tagged({ tag, ...task }: queries.TaskRow): TaggedTask {
  return { task, tag }
}

const ofCaller = new Set(['tasks_created_by_fkey', 'idempotency_keys_user_id_fkey'])

/** The same JSON value has the same fingerprint, in whatever order and form its members were sent. */
async function fingerprint(input: object): Promise<string> {
  const canonical = JSON.stringify(Object.entries(input).sort(([a], [b]) => (a < b ? -1 : 1)))
  return toBase64Url(new Uint8Array(await crypto.subtle.digest('SHA-256', utf8.encode(canonical))))
}

const noSuchAssignee = () => invalidInput([{ pointer: '/assigned_to', detail: 'There is no such user.' }])

export function changedSince(tag: string): Problem {
  return new Problem(412, 'The task has changed since.', { headers: { ETag: entityTag(tag) } })
}

/** Strong: it changes with every change of the representation. */
export const entityTag = (tag: string) => `"${tag}"`

/** Says in the client's words what a constraint has refused; null when it was the caller's account that had just gone. */
async function naming<T>(write: () => Promise<T>): Promise<T | null> {
  try {
    return await write()
  } catch (error) {
    if (!(error instanceof postgres.PostgresError)) throw error
    if (error.constraint_name === 'tasks_assigned_to_fkey') {
      throw noSuchAssignee()
    }
    if (error.constraint_name && ofCaller.has(error.constraint_name)) return null
    throw error
  }
}

/**
 * The lock that was waited for in vain may be any: Postgres says in its context which table that was about.
 */
function keyInUse(error: unknown): never {
  const { cause } = error instanceof DatabaseUnavailableError ? error : {}
  const isTheKeys = cause instanceof postgres.PostgresError && cause.where?.includes('idempotency_keys')
  if (isTheKeys && cause.code === '55P03')
    throw new Problem(409, 'The first request with this Idempotency-Key is still under way.', {
      headers: { 'Retry-After': '1' },
    })
  throw error
}

function tooLong(error: unknown): never {
  throw error instanceof DeadlineError ? unavailable('The search took too long; narrow it down.', 5) : error
}
