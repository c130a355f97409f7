/** The statement behind a list: the one that is put together from parts, as few of them as the query needs. */
import type { PendingQuery, Row } from 'postgres'
import type { Caller } from '../accounts/access-tokens.ts'
import type { Database, SqlTag } from '../database.ts'
import type { Position } from '../http/cursor.ts'
import { pageOrder } from '../http/page-rows.ts'
import type { Task, TaskListQuery } from './schemas.ts'

type Fragment = PendingQuery<Row[]>
/** Ids; `none` is nobody, undefined anybody. */
type People = { createdBy: number | undefined; assignedTo: number | 'none' | undefined }

export type TaskList = { rows: Task[]; count: number | undefined }

/**
 * A page of what the caller may see, and one row more where there is more; in the list's order, or, for a position with
 * direction `before`, in the reverse. What the caller created and what is assigned to them are read apart, each from its
 * place in an index, then merged: an `or` would sort everything. Undefined when the session has ended.
 */
export async function listTasks(
  db: Database,
  { userId, sessionId }: Caller,
  query: TaskListQuery,
  position: Position | null,
  timeoutMs?: number,
): Promise<TaskList | undefined> {
  const createdBy = query.created_by === 'me' ? userId : query.created_by
  const assignedTo = query.assigned_to === 'me' ? userId : query.assigned_to
  // A search and a count read all that the user may see.
  const heavy = query.count || query.search !== undefined
  const options = { heavy, read: true, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
  const rows = await db.run((sql) => {
    const { key, order, place } = orderingOf(sql, query.ordering, position)
    const filters = narrowing(sql, query, { createdBy, assignedTo })
    // A half that the filters leave empty is left out.
    const halves = [
      ...(createdBy === undefined || createdBy === userId ? [sql`created_by = ${userId}`] : []),
      ...(assignedTo === undefined || assignedTo === userId ? [sql`assigned_to = ${userId}`] : []),
    ]
    const most = query.limit + 1
    const half = (mine: Fragment) => sql`
      select id, title, description, status, assigned_to, created_by, created_at, updated_at, completed_at
      from tasks where ${mine} ${filters} ${place} order by ${order} limit ${most}`
    const [one = half(sql`false`), other] = halves.map(half)
    // Of a task that is in both halves one is taken.
    const page = other
      ? sql`
        select distinct on (${key}, id) halves.* from ((${one}) union all (${other})) halves
        order by ${order} limit ${most}`
      : one
    return sql<((Task | { id: null }) & { count: number | null })[]>`
      select page.*, ${query.count ? counted(sql, halves, filters) : sql`null::bigint`} count
      from sessions s left join (${page}) page on true
      where s.id = ${sessionId} and s.user_id = ${userId} and s.ended_at is null
      order by ${order}`
  }, options)
  const [first] = rows
  if (!first) return undefined
  return {
    count: first.count ?? undefined,
    rows: rows.flatMap(({ count, ...row }) => (row.id === null ? [] : [row as Task])),
  }
}

function orderingOf(sql: SqlTag, ordering: TaskListQuery['ordering'], position: Position | null) {
  const { key, type } = keyOf(sql, ordering)
  return { key, ...pageOrder(sql, { key, type, descending: ordering.startsWith('-') }, position) }
}

function keyOf(sql: SqlTag, ordering: TaskListQuery['ordering']): { key: Fragment; type: Fragment } {
  switch (ordering) {
    case 'title':
    case '-title':
      // By code point: what "C" gives in UTF-8.
      return { key: sql`title collate "C"`, type: sql`text` }
    case 'updated_at':
    case '-updated_at':
      return { key: sql`updated_at`, type: sql`timestamptz` }
    default:
      return { key: sql`created_at`, type: sql`timestamptz` }
  }
}

/**
 * The filters that narrow a list down within its index. Their text is the same whichever of them are given, so that the
 * number of statements a connection has prepared stays small; and empty when none is, which is most often.
 */
function narrowing(sql: SqlTag, query: TaskListQuery, { createdBy, assignedTo }: People): Fragment {
  const { status, search, created_after, created_before, updated_after, updated_before } = query
  const given = [
    status,
    createdBy,
    assignedTo,
    search,
    created_after,
    created_before,
    updated_after,
    updated_before,
  ]
  if (given.every((value) => value === undefined)) return sql``
  const assignee = assignedTo === 'none' ? null : (assignedTo ?? null)
  return sql`
    and (${status ?? null}::text is null or status = ${status ?? null})
    and (${createdBy ?? null}::bigint is null or created_by = ${createdBy ?? null})
    and (${assignee}::bigint is null or assigned_to = ${assignee})
    and (not ${assignedTo === 'none'} or assigned_to is null)
    and (${created_after ?? null}::timestamptz is null or created_at >= ${created_after ?? null})
    and (${created_before ?? null}::timestamptz is null or created_at < ${created_before ?? null})
    and (${updated_after ?? null}::timestamptz is null or updated_at >= ${updated_after ?? null})
    and (${updated_before ?? null}::timestamptz is null or updated_at < ${updated_before ?? null})
    and (${search ?? null}::text is null or ${contains(sql, sql`title`, search)} or ${contains(sql, sql`description`, search)})`
}

/** The exact number of all that match, of which the page is a part. */
function counted(
  sql: SqlTag,
  [one = sql`false`, other = sql`false`]: Fragment[],
  filters: Fragment,
): Fragment {
  return sql`(
    select count(*) from (
      select id from tasks where ${one} ${filters} union select id from tasks where ${other} ${filters}
    ) visible)`
}

/**
 * A substring, case ignored as Unicode lower-casing does: under ICU's root locale, since what `lower` does under a
 * database's own locale differs from server to server. The text is never a pattern.
 */
function contains(sql: SqlTag, column: Fragment, wanted: string | undefined): Fragment {
  // A subquery is worked out once; a bare expression of a parameter, in a plan kept for all values, at every row.
  return sql`strpos(${fold(sql, column)}, (select ${fold(sql, sql`${wanted ?? null}::text`)})) > 0`
}

/** A sigma is lowered by its place in a word, which in a part of the word is another: all become the same. */
const fold = (sql: SqlTag, text: Fragment) => sql`replace(lower(${text} collate "und-x-icu"), 'ς', 'σ')`
