/** The tasks' statements, one a function. Each throws SessionEnded, having done nothing. */
import { actingCaller, type Caller, isLive, queryAs, tellsActor } from '../auth/caller.ts'
import type { Precondition } from '../http/conditional.ts'
import type { IdempotencyKey } from '../http/idempotency.ts'
import type { Database, SqlValue } from '../ports/database.ts'
import { listStatement } from '../resource/list.ts'
import { columnsOf, type Member, type Written, writtenNames } from '../resource/members.ts'
import type { Position } from '../resource/page.ts'
import { type Audience, audienceOf, mayDelete, maySee, viewers } from './access.ts'
import type { NewTask, Task, TaskChange, TaskListQuery } from './schemas.ts'
import { filters, members, orderings, statuses } from './task.ts'

/** `tag` is the entity tag without its quotes. */
export type TaskRow = Task & { tag: string }

const tag = (row: string) => `concat_ws('.', ${row}.version, ${row}.revision) tag`
const columns = `${columnsOf(members)}, ${tag('t')}`
const written = writtenNames(members).map((name) => ({ name, ...(members as Record<string, Member>)[name] }))
const writtenColumns = written.map(({ name }) => name).join(', ')

/** Values of a new row's written members, in their order. */
const valuesOf = (task: Written): SqlValue[] =>
  written.map(({ name, initial }) => (task[name] === undefined ? (initial ?? null) : task[name]))

/** Parameters for the values of the written members, from `$first` on. */
const parameters = (first: number) => written.map(({ sql }, index) => `$${first + index}::${sql}`)

const findText = `
  select ${columns}
  from sessions s left join tasks t on t.id = $3::bigint and ${maySee('s.user_id')}
  where ${isLive}`

/** Null when there is no such task that the caller may see. */
export async function findTask(db: Database, caller: Caller, id: number | null): Promise<TaskRow | null> {
  const [row] = await queryAs<TaskRow | { id: null }>(db, caller, findText, [id], {
    read: true,
    brief: true,
  })
  return row.id === null ? null : row
}

const statusAt = written.findIndex(({ name }) => name === 'status')

/** Only a completion's event names the actor. */
const tellsActorOf = (status: string) => `(${status}::text is distinct from 'completed' or ${tellsActor})`

const insertText = `
  insert into tasks as t (${writtenColumns}, created_by)
  select ${parameters(3).join(', ')}, s.user_id
  from sessions s where ${isLive} and ${tellsActorOf(`$${3 + statusAt}`)}
  returning ${columns}`

/** Rejects with 23503 on `tasks_assigned_to_fkey` when the assignee is no user, or a disabled one. */
export async function insertTask(db: Database, caller: Caller, task: NewTask) {
  const [row] = await queryAs<TaskRow>(db, caller, insertText, valuesOf(task))
  return { row, audience: audienceOf(row) }
}

export type KeyedInsert = {
  /** The answer that the key is bound to. */
  response: Task
  /** The entity tag of that answer; a new task's version is 1. */
  tag: string
  /** Whether the key was bound by a request with the same body. */
  same: boolean
  created: boolean
  audience: Audience
}

const keyedInsertText = `
  with ${actingCaller}, new as materialized (
    select t.*, task_json(t) json
    from caller, (select set_config('lock_timeout', '3000', true)) bounded_wait,
      date_trunc('milliseconds', now()) at,
      jsonb_populate_record(null::tasks, jsonb_build_object(
        'id', nextval(pg_get_serial_sequence('tasks', 'id')), 'revision', new_revision(),
        ${written.map(({ name, sql }, index) => `'${name}', $${5 + index}::${sql}`).join(', ')},
        'created_by', user_id, 'created_at', at, 'updated_at', at)) given,
      jsonb_populate_record(given, jsonb_build_object(
        'completed_at', case when given.status = 'completed' then at end)) t
  ), key as (
    insert into idempotency_keys as k (user_id, key, hash, task_id, response, created_at, revision)
    select created_by, $3, $4, id, json, created_at, revision from new
    on conflict (user_id, key) do update set (hash, task_id, response, created_at, revision) = (
      select hash, task_id, response, created_at, revision from (
        select excluded.* where k.created_at < now() - interval '24 hours'
        union all
        select k.* where k.created_at >= now() - interval '24 hours'
      ) bound)
    returning task_id, response, revision, hash = $4 same
  ), task as (
    insert into tasks (id, ${writtenColumns}, created_by, created_at, updated_at, revision)
    select new.id, ${written.map(({ name }) => `new.${name}`).join(', ')}, new.created_by, new.created_at,
      new.updated_at, new.revision
    from new join key on key.task_id = new.id
    returning id
  )
  select key.response, concat_ws('.', 1, key.revision) tag, key.same, exists (select from task) created
  from caller join key on true`

/**
 * Inserts a task once for an idempotency key. A repeat that arrives while the first is under way waits on the
 * key's unique index, then sees the first's row because it updates it; `do nothing` would see none. Keys
 * expire after a day. Rejects as insertTask does, leaving the key unbound, and with 55P03 when the wait takes
 * over 3 s.
 */
export async function insertTaskOnce(
  db: Database,
  caller: Caller,
  task: NewTask,
  { key, hash }: IdempotencyKey,
): Promise<KeyedInsert> {
  const values = [key, hash, ...valuesOf(task)]
  const [row] = await queryAs<Omit<KeyedInsert, 'audience'>>(db, caller, keyedInsertText, values)
  return { ...row, audience: audienceOf(row.response) }
}

/** True where the precondition in `$4` and `$5` holds for the row `before`. */
const preconditionHolds = (() => {
  const isNamed = (tags: string) => `(${tags} = '*' or before.tag = any (string_to_array(${tags}, ',')))`
  return `($4::text is null or ${isNamed('$4')}) and ($5::text is null or not ${isNamed('$5')})`
})()

const earlier = viewers.map((column) => `before.${column} was_${column}`).join(', ')

/** One row unless the session has ended: the task before a write, locked, or nulls if the caller sees none. */
const before = (condition: string) => `before as materialized (
    select t.*
    from sessions s left join lateral (
      select t.id, t.status, ${viewers.map((column) => `t.${column}`).join(', ')}, ${tag('t')},
        ${mayDelete('s.user_id')} may_delete
      from tasks t
      where t.id = $3::bigint and ${maySee('s.user_id')}
      for update
    ) t on true
    where ${condition}
  )`

const updateText = `
  with ${before(`${isLive} and ${tellsActorOf(`$${7 + 2 * statusAt}`)}`)}, after as (
    update tasks t set
      ${written.map(({ name, sql }, index) => `${name} = case when $${6 + 2 * index} then $${7 + 2 * index}::${sql} else t.${name} end`).join(',\n      ')}
    from before
    where t.id = before.id and ${preconditionHolds}
    returning ${Object.keys(members)
      .map((name) => `t.${name}`)
      .join(', ')}, ${tag('t')}
  )
  select before.tag found, before.status was_status, ${earlier}, ${columnsOf(members)}, t.tag
  from before left join after t on true`

type UpdateRow = (TaskRow | { id: null }) & {
  found: string | null
  was_status: Task['status'] | null
  was_created_by: number | null
  was_assigned_to: number | null
}

/**
 * `found` is the entity tag before the change, null when there is no such task that the caller may see;
 * `task` is null too when the precondition failed. Rejects as insertTask does.
 */
export async function updateTask(
  db: Database,
  caller: Caller,
  id: number | null,
  change: TaskChange,
  { match, noneMatch }: Precondition,
) {
  const given: Written = change
  const values = written.flatMap(({ name }): SqlValue[] => [given[name] !== undefined, given[name] ?? null])
  const [row] = await queryAs<UpdateRow>(db, caller, updateText, [id, match, noneMatch, ...values])
  const { found, was_status, was_created_by, was_assigned_to, ...after } = row
  const was = { status: was_status, created_by: was_created_by, assigned_to: was_assigned_to }
  const task = after.id === null ? null : (after as TaskRow)
  return { found, was, audience: [...audienceOf(was), ...(task ? audienceOf(task) : [])], task }
}

const deleteText = `
  with ${before(isLive)}, gone as (
    delete from tasks t using before
    where t.id = before.id and before.may_delete and ${preconditionHolds}
    returning t.id
  )
  select before.tag found, before.may_delete, exists (select from gone) deleted,
    ${viewers.map((column) => `before.${column}`).join(', ')}
  from before`

type Deletion = { found: string | null; may_delete: boolean | null; deleted: boolean; audience: Audience }

export async function deleteTask(
  db: Database,
  caller: Caller,
  id: number | null,
  { match, noneMatch }: Precondition,
): Promise<Deletion> {
  const values = [id, match, noneMatch]
  const [row] = await queryAs<Deletion & Pick<Task, 'created_by' | 'assigned_to'>>(
    db,
    caller,
    deleteText,
    values,
  )
  return { ...row, audience: audienceOf(row) }
}

/** Tells why a write failed: see changeTask. A trigger checks the same at each write. */
export async function isAssignable(db: Database, userId: number): Promise<boolean> {
  const text = 'select from users where id = $1 and disabled_at is null'
  return (await db.query(text, [userId], { read: true })).length > 0
}

const listSource = {
  table: 'tasks',
  names: Object.keys(members),
  columns: columnsOf(members),
  filters,
  orderings,
  live: isLive,
}

/** `key` is the value that the list is ordered by, as text. */
export type TaskList = { rows: { id: number; key: string | null; task: Task }[]; count: number | undefined }

type ListRow = (Task | { id: null }) & Record<string, string | number | null | undefined>

/** See listStatement for the rows. @param timeoutMs of the statement, where it is not the general one */
export async function listTasks(
  db: Database,
  caller: Caller,
  query: TaskListQuery,
  position: Position | null,
  timeoutMs?: number,
): Promise<TaskList> {
  const isCaller = (column: (typeof viewers)[number]) =>
    query[column] === 'me' || query[column] === caller.userId
  const own = viewers.find(isCaller)
  // A source that the filters leave empty is not read.
  const columns = own ? [own] : viewers.filter((column) => query[column] === undefined)
  // Each status is a range of its own in the indexes.
  const conditions = query.status ? [''] : statuses.map((status) => ` and t.status = '${status}'`)
  const sources = columns.flatMap((column) =>
    conditions.map((condition) => (userId: string) => `t.${column} = ${userId}${condition}`),
  )
  const { text, values, key } = listStatement({ ...listSource, sources }, query, position)
  const rows = await queryAs<ListRow>(db, caller, text, values, {
    read: true,
    brief: true,
    // A search and a count read every task that the user may see.
    ...(query.count || query.search !== undefined ? { heavyFor: caller.userId } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    prepare: position?.direction !== 'before' && isCommon(query),
  })
  const count = rows[0].count
  return {
    count: typeof count === 'number' ? count : undefined,
    rows: rows.flatMap((row) => {
      if (row.id === null) return []
      const value = row[key] ?? null
      // JSON leaves out undefined members. A copy without them costs a third of the row's JSON.
      if ('sort_key' in row) row.sort_key = undefined
      if ('count' in row) row.count = undefined
      return [{ id: row.id, key: value === null ? null : String(value), task: row as Task }]
    }),
  }
}

/**
 * Whether the statement's text is one of some fifty: a connection keeps a plan of up to 200 KB for each text
 * that it has prepared. Ordering and status vary freely, or else only the caller's own tasks are filtered.
 */
function isCommon({ count, limit, cursor, ordering, status, ...rest }: TaskListQuery): boolean {
  const others = Object.values(rest).filter((value) => value !== undefined)
  if (count) return false
  return ordering === '-created_at' ? others.every((value) => value === 'me') : others.length === 0
}
