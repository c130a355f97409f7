/** The tasks' statements, one a function; each begins with the caller and does nothing when the session has ended. */
import type { PendingQuery, Row } from 'postgres'
import type { Caller } from '../auth/access-tokens.ts'
import type { Precondition } from '../http/conditional.ts'
import type { Database, SqlTag } from '../ports/database.ts'
import type { Task } from './schemas.ts'

/** `tag` is the entity tag without its quotes. */
export type TaskRow = Task & { tag: string }

/** What is written of a task; a member left out keeps its value, or has its default in a new one. */
export type TaskValues = {
  title?: string | undefined
  description?: string | null | undefined
  status?: Task['status'] | undefined
  assigned_to?: number | null | undefined
}

const columns = (sql: SqlTag) => sql`
  t.id, t.title, t.description, t.status, t.assigned_to, t.created_by,
  extract(epoch from t.created_at) created_at, extract(epoch from t.updated_at) updated_at,
  extract(epoch from t.completed_at) completed_at, ${tag(sql)}`

/** Leaves out the revision where there is none. */
const tag = (sql: SqlTag) => sql`concat_ws('.', t.version, t.revision) tag`

/** The caller for a write: tells the triggers who acts, for this transaction only. */
const actingCaller = (sql: SqlTag, { userId, sessionId }: Caller) => sql`
  caller as materialized (
    select user_id, set_config('task_api.user_id', user_id::text, true)
    from sessions where id = ${sessionId} and user_id = ${userId} and ended_at is null
  )`

/** `task` is null when there is none that the caller may see; undefined when the session has ended. */
export async function findTask(db: Database, { userId, sessionId }: Caller, id: number | null) {
  const [row] = await db.run(
    (sql) => sql<(TaskRow | { id: null })[]>`
      select ${columns(sql)}
      from sessions s
      left join tasks t on t.id = ${id}::bigint and (t.created_by = s.user_id or t.assigned_to = s.user_id)
      where s.id = ${sessionId} and s.user_id = ${userId} and s.ended_at is null`,
    { read: true },
  )
  if (!row) return undefined
  return { task: row.id === null ? null : (row as TaskRow) }
}

/** Undefined when the session has ended. Rejects with 23503 on `tasks_assigned_to_fkey` when the assignee is no user, or a disabled one. */
export async function insertTask(db: Database, caller: Caller, values: TaskValues & { title: string }) {
  const [row] = await db.run(
    (sql) => sql<TaskRow[]>`
      with ${actingCaller(sql, caller)}
      insert into tasks as t (title, description, status, assigned_to, created_by)
      select ${values.title}, ${values.description ?? null}, ${values.status ?? 'pending'},
        ${values.assigned_to ?? null}::bigint, user_id
      from caller
      returning ${columns(sql)}`,
  )
  return row
}

export type KeyedInsert = {
  live: boolean
  /** What the key answers. Null when the session has ended. */
  response: Task | null
  /** The entity tag that goes with it; a new task's version is 1. */
  tag: string
  /** Whether the key was bound by a request with the same body. */
  same: boolean
  created: boolean
}

/**
 * An insert that an idempotency key guards. A repeat that comes while the first is under way waits on the key's unique
 * index, then sees the first's row because it updates it; `do nothing` would see none. Keys are free again after a day.
 * Rejects with 55P03 when the wait takes over 3 s. The assignee's foreign key leaves the key unbound.
 */
export async function insertTaskOnce(
  db: Database,
  caller: Caller,
  values: TaskValues & { title: string },
  { key, hash }: { key: string; hash: string },
): Promise<KeyedInsert | undefined> {
  const [row] = await db.run(
    (sql) => sql<KeyedInsert[]>`
      with ${actingCaller(sql, caller)}, new as materialized (
        select nextval(pg_get_serial_sequence('tasks', 'id')) id, ${values.title}::text title,
          ${values.description ?? null}::text description, ${values.status ?? 'pending'}::text status,
          ${values.assigned_to ?? null}::bigint assigned_to, user_id,
          date_trunc('milliseconds', now()) at, new_revision() revision
        from caller, (select set_config('lock_timeout', '3000', true)) bounded_wait
      ), key as (
        insert into idempotency_keys as k (user_id, key, hash, task_id, response, created_at, revision)
        select user_id, ${key}, ${hash}, id, jsonb_build_object(
          'id', id, 'title', title, 'description', description, 'status', status, 'assigned_to', assigned_to,
          'created_by', user_id, 'created_at', rfc3339(at), 'updated_at', rfc3339(at),
          'completed_at', case when status = 'completed' then rfc3339(at) end), at, revision
        from new
        on conflict (user_id, key) do update set (hash, task_id, response, created_at, revision) = (
          select hash, task_id, response, created_at, revision from (
            select excluded.* where k.created_at < now() - interval '24 hours'
            union all
            select k.* where k.created_at >= now() - interval '24 hours'
          ) bound)
        returning task_id, response, revision, hash = ${hash} same
      ), task as (
        insert into tasks (
          id, title, description, status, assigned_to, created_by, created_at, updated_at, revision)
        select new.id, title, description, status, assigned_to, user_id, at, at, new.revision
        from new join key on key.task_id = new.id
        returning id
      )
      select exists (select from caller) live, key.response, concat_ws('.', 1, key.revision) tag,
        coalesce(key.same, false) same,
        exists (select from task) created
      from (select) one left join key on true`,
  )
  return row
}

export type UpdateResult = {
  live: boolean
  /** The entity tag found, before the change; null when there is no task that the caller may see. */
  found: string | null
  /** What it was before the change. */
  was: Pick<Task, 'status' | 'assigned_to'> | null
  /** Null too when the precondition failed: `found` is not. */
  task: TaskRow | null
}

/** Rejects as insertTask does. */
export async function updateTask(
  db: Database,
  caller: Caller,
  id: number | null,
  values: TaskValues,
  precondition: Precondition,
): Promise<UpdateResult> {
  const set = (sql: SqlTag, column: keyof TaskValues, type: PendingQuery<Row[]>) =>
    sql`case when ${values[column] !== undefined} then ${values[column] ?? null}::${type} else t.${sql(column)} end`
  const [row] = await db.run(
    (sql) => sql<[(TaskRow | { id: null }) & UpdateRow]>`
      with ${actingCaller(sql, caller)}, before as materialized (
        select t.id, t.status, t.assigned_to, ${tag(sql)}
        from tasks t join caller on t.created_by = caller.user_id or t.assigned_to = caller.user_id
        where t.id = ${id}::bigint
        for update of t
      ), after as (
        update tasks t set
          title = ${set(sql, 'title', sql`text`)},
          description = ${set(sql, 'description', sql`text`)},
          status = ${set(sql, 'status', sql`text`)},
          assigned_to = ${set(sql, 'assigned_to', sql`bigint`)}
        from before
        where t.id = before.id and ${meets(sql, precondition)}
        returning ${columns(sql)}
      )
      select exists (select from caller) live, before.tag found, before.status was_status,
        before.assigned_to was_assigned_to, after.*
      from (select) one left join before on true left join after on true`,
  )
  const { live, found, was_status, was_assigned_to, ...task } = row
  return {
    live,
    found,
    was: was_status === null ? null : { status: was_status, assigned_to: was_assigned_to },
    task: task.id === null ? null : (task as TaskRow),
  }
}

type UpdateRow = Pick<UpdateResult, 'live' | 'found'> & {
  was_status: Task['status'] | null
  was_assigned_to: number | null
}

export type DeleteResult = {
  live: boolean
  found: string | null
  mine: boolean | null
  assigned_to: number | null
  deleted: boolean
}

export async function deleteTask(
  db: Database,
  caller: Caller,
  id: number | null,
  precondition: Precondition,
): Promise<DeleteResult> {
  const [row] = await db.run(
    (sql) => sql<[DeleteResult]>`
      with ${actingCaller(sql, caller)}, before as materialized (
        select t.id, ${tag(sql)}, t.assigned_to, t.created_by = caller.user_id mine
        from tasks t join caller on t.created_by = caller.user_id or t.assigned_to = caller.user_id
        where t.id = ${id}::bigint
        for update of t
      ), gone as (
        delete from tasks t using before
        where t.id = before.id and before.mine and ${meets(sql, precondition)}
        returning t.id
      )
      select exists (select from caller) live, before.tag found, before.mine mine,
        before.assigned_to, exists (select from gone) deleted
      from (select) one left join before on true`,
  )
  return row
}

const meets = (sql: SqlTag, { match, noneMatch }: Precondition) => {
  const isNamed = (tags: string | null) =>
    sql`(${tags} = '*' or before.tag = any (string_to_array(${tags}, ',')))`
  return sql`(${match}::text is null or ${isNamed(match)}) and (${noneMatch}::text is null or not ${isNamed(noneMatch)})`
}

/** For a failure to say why: see changeTask. A trigger checks the same at each write. */
export async function isAssignable(db: Database, userId: number) {
  const [row] = await db.run(
    (sql) => sql<[{ assignable: boolean }]>`
      select exists (select from users where id = ${userId} and disabled_at is null) assignable`,
    { read: true },
  )
  return row.assignable
}
