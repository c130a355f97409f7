/** The statement behind a list: the one that is put together from parts, as few of them as the query needs. */
import type { PendingQuery, Row } from 'postgres'
import type { Caller } from '../auth/access-tokens.ts'
import type { Position } from '../http/cursor.ts'
import { pageOrder } from '../http/page-rows.ts'
import type { Database, SqlTag } from '../ports/database.ts'
import type { Task, TaskListQuery } from './schemas.ts'
import { wordsOf } from './search-words.ts'

type Fragment = PendingQuery<Row[]>
/** Ids; `none` is nobody, undefined anybody. */
type People = { createdBy: number | undefined; assignedTo: number | 'none' | undefined }

/** `key` is the value that the list is ordered by, as text. */
export type TaskList = { rows: { id: number; key: string; task: Task }[]; count: number | undefined }

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
  const options = {
    read: true,
    ...(heavy ? { heavyFor: userId } : {}),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  }
  const rows = await db.run((sql) => {
    const { key, extra, carried, order, place } = orderingOf(sql, query.ordering, position)
    const filters = narrowing(sql, query, { createdBy, assignedTo })
    // A half that the filters leave empty is left out.
    const halves = [
      ...(createdBy === undefined || createdBy === userId ? [sql`created_by = ${userId}`] : []),
      ...(assignedTo === undefined || assignedTo === userId ? [sql`assigned_to = ${userId}`] : []),
    ]
    const most = query.limit + 1
    const half = (mine: Fragment) => sql`
      select id, title, description, status, assigned_to, created_by, created_at, updated_at, completed_at
        ${extra}
      from tasks t where ${mine} ${filters} ${place} order by ${order} limit ${most}`
    const [one = half(sql`false`), other] = halves.map(half)
    // Of a task that is in both halves one is taken.
    const page = other
      ? sql`
        select distinct on (${key}, id) t.* from ((${one}) union all (${other})) t
        order by ${order} limit ${most}`
      : one
    return sql<((ListedTask | { id: null }) & { count: number | null })[]>`
      select t.id, t.title, t.description, t.status, t.assigned_to, t.created_by,
        extract(epoch from t.created_at) created_at, extract(epoch from t.updated_at) updated_at,
        extract(epoch from t.completed_at) completed_at ${carried},
        ${query.count ? counted(sql, halves, filters) : sql`null::bigint`} count
      from sessions s left join (${page}) t on true
      where s.id = ${sessionId} and s.user_id = ${userId} and s.ended_at is null
      order by ${order}`
  }, options)
  const [first] = rows
  if (!first) return undefined
  const column = query.ordering.replace('-', '') as 'created_at' | 'updated_at' | 'title'
  return {
    count: first.count ?? undefined,
    rows: rows.flatMap(({ count, ...row }) => {
      if (row.id === null) return []
      const { folded_title, ...task } = row as ListedTask
      return [{ id: task.id, key: folded_title ?? task[column], task }]
    }),
  }
}

/** `folded_title` only where the list is ordered by it. */
type ListedTask = Task & { folded_title?: string }

/** Columns that are ordered by are those of `t`. */
function orderingOf(sql: SqlTag, ordering: TaskListQuery['ordering'], position: Position | null) {
  const { extra = sql``, carried = sql``, ...by } = keyOf(sql, ordering)
  const order = pageOrder(sql, { ...by, descending: ordering.startsWith('-') }, position)
  return { key: by.key, extra, carried, ...order }
}

/**
 * The column to order by. Where it is no column of tasks, `extra` selects it as the `expression` that is indexed,
 * and `carried` takes it further.
 */
function keyOf(
  sql: SqlTag,
  ordering: TaskListQuery['ordering'],
): Record<'key' | 'type', Fragment> & Partial<Record<'expression' | 'extra' | 'carried', Fragment>> {
  switch (ordering) {
    case 'title':
    case '-title': {
      // By code point: what "C" gives in UTF-8.
      const expression = sql`left(fold_text(title), 650) collate "C"`
      const extra = sql`, ${expression} folded_title`
      return { key: sql`folded_title`, expression, extra, carried: sql`, folded_title`, type: sql`text` }
    }
    case 'updated_at':
    case '-updated_at':
      return { key: sql`t.updated_at`, type: sql`timestamptz` }
    default:
      return { key: sql`t.created_at`, type: sql`timestamptz` }
  }
}

/**
 * The filters that narrow a list down within its index. Apart from the search their text is the same whichever of them are
 * given, so that the number of statements a connection has prepared stays small; and empty when none is, which is most often.
 */
function narrowing(sql: SqlTag, query: TaskListQuery, { createdBy, assignedTo }: People): Fragment {
  const { status, search, created_after, created_before, updated_after, updated_before } = query
  const searched = search === undefined ? sql`` : matching(sql, search)
  const given = [status, createdBy, assignedTo, created_after, created_before, updated_after, updated_before]
  if (given.every((value) => value === undefined)) return searched
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
    ${searched}`
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
 * True where no word of the search is missing. Words and text are folded by the same function, and compared as they are, never
 * as a pattern. `strpos` is the fastest for ordinary text, but takes the product of both lengths for text such as `aaaa…`: so it
 * looks for the beginning of a word only, and a regular expression, which takes the text's length, for all of it.
 * The beginning of the longest word is looked for first, as few tasks have it.
 */
function matching(sql: SqlTag, search: string): Fragment {
  const folded = sql`coalesce(search_text, fold_text(concat_ws(E'\\n', title, description)))`
  // Subqueries without columns of the task are worked out once.
  const words = sql`(select search_words(${wordsOf(search).join('\n')}))`
  return sql`
    and strpos(${folded}, (select coalesce(left(${words}[1], 8), ''))) > 0
    and not exists (
      select from (select ${folded} || '' as folded offset 0) read_once, unnest(${words}) word
      where strpos(folded, left(word, 8)) = 0 or length(word) > 8 and folded !~ ('***=' || word))`
}
