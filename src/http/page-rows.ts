/** The rows of one page: in which order a statement reads them, and which of them the page has. */
import type { PendingQuery, Row } from 'postgres'
import type { SqlTag } from '../ports/database.ts'
import type { Position } from './cursor.ts'

type Fragment = PendingQuery<Row[]>
type OrderBy = { key: Fragment; expression?: Fragment; type: Fragment; descending: boolean }

/**
 * Rows are ordered by a key, then by `id`. A page before a position is read in the reverse order. `place` is a further
 * condition, for the rows after the position in the order that is read. Where the key is the name of an output column, the
 * condition needs the `expression` behind it.
 */
export function pageOrder(
  sql: SqlTag,
  { key, expression = key, type, descending }: OrderBy,
  position: Position | null,
): { order: Fragment; place: Fragment } {
  const downwards = descending !== (position?.direction === 'before')
  const order = downwards ? sql`${key} desc, id desc` : sql`${key}, id`
  if (!position) return { order, place: sql`` }
  const { value, inclusive } = position
  // The position itself is let in by the id before it: the text of the statement is the same.
  const id = inclusive ? position.id + (downwards ? 1 : -1) : position.id
  const place = downwards
    ? sql`and (${expression}, id) < (${value}::${type}, ${id}::bigint)`
    : sql`and (${expression}, id) > (${value}::${type}, ${id}::bigint)`
  return { order, place }
}

/** Where the pages around one begin. */
export type Pages = { next: Position | null; previous: Position | null }

/**
 * Makes a page, in the list's order, of rows in the order they were read: backwards for a position with the direction
 * `before`. There is more in that direction when more rows were read than the page takes, which is `size`.
 */
export function pageOf<Row extends { id: number }>(
  read: Row[],
  { size, from, keyOf }: { size: number; from: Position | null; keyOf: (row: Row) => string },
): { rows: Row[] } & Pages {
  const backwards = from?.direction === 'before'
  const rows = read.slice(0, size)
  if (backwards) rows.reverse()
  const more = read.length > rows.length
  const [first, last] = [rows[0], rows.at(-1)]
  // An empty page has no rows for a position: it leads back to the one that was asked for, inclusively.
  const at = (row: Row | undefined, direction: Position['direction']) =>
    row
      ? { value: keyOf(row), id: row.id, direction, inclusive: false }
      : from && { ...from, direction, inclusive: true }
  return {
    rows,
    next: backwards || more ? at(last, 'after') : null,
    previous: from && (!backwards || more) ? at(first, 'before') : null,
  }
}
