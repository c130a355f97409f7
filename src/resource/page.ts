/** Keyset pages: in which order a statement reads rows, and which of them make up a page. */

/** A place between two rows of a list, in its order. */
export type Position = {
  /** The row's value in the list's ordering, as text; null where it has none. */
  value: string | null
  id: number
  /** Whether the page comes after the position or before it. */
  direction: 'after' | 'before'
  /** Whether the row at the position itself belongs to the page. */
  inclusive: boolean
}

/** A column or an indexed expression that lists are ordered by, then by `id`. */
export type Ordering = {
  /** In terms of `t`. */
  key: string
  type: 'text' | 'timestamptz' | 'bigint'
  /** Rows without a value come last, in both directions. */
  nullable?: true
}

/** Adds a value to a statement and returns its parameter, such as `$3`. */
export type AddValue = (value: string | number | boolean | null) => string

/**
 * The columns that rows are ordered by, for a key of this name, and the condition for the rows beyond the
 * position. Rows without a value come last by a leading flag. All columns have one direction, so that a page
 * is a range of an index on them; a page before a position is read in reverse.
 */
export function keyset(
  { key, type, nullable }: Ordering,
  { descending, position, add }: { descending: boolean; position: Position | null; add: AddValue },
) {
  const isReverse = position?.direction === 'before'
  const downwards = descending !== isReverse
  const flag = (name: string) => `${name} is ${descending ? 'not null' : 'null'}`
  const columns = (name: string, id = 'id') => [...(nullable ? [flag(name)] : []), name, id]
  const orderBy = (name: string, id?: string) =>
    columns(name, id)
      .map((column) => `${column}${downwards ? ' desc' : ''}`)
      .join(', ')
  const order = { columns, orderBy }
  if (!position) return { ...order, beyond: '' }
  const { value, inclusive } = position
  const comparison = downwards ? '<' : '>'
  // An inclusive position lets its own row in by the neighbouring id: the statement's text stays the same.
  const id = `${add(inclusive ? position.id + (downwards ? 1 : -1) : position.id)}::bigint`
  if (value === null) {
    const withoutValue = `${key} is null and id ${comparison} ${id}`
    return {
      ...order,
      beyond: isReverse ? `and (${withoutValue} or ${key} is not null)` : `and ${withoutValue}`,
    }
  }
  const place = [...(nullable ? [descending] : []), `${add(value)}::${type}`, id]
  return { ...order, beyond: `and (${columns(key).join(', ')}) ${comparison} (${place.join(', ')})` }
}

/** The positions where the pages around one begin. */
export type Pages = { next: Position | null; previous: Position | null }

/**
 * Makes a page of at most `size` rows, in the list's order, of rows in the order they were read. More rows
 * than that were read where there is another page in that direction.
 */
export function pageOf<Row extends { id: number }>(
  read: Row[],
  { size, from, keyOf }: { size: number; from: Position | null; keyOf: (row: Row) => string | null },
): { rows: Row[] } & Pages {
  const isReverse = from?.direction === 'before'
  const rows = read.slice(0, size)
  if (isReverse) rows.reverse()
  const more = read.length > rows.length
  const [first, last] = [rows[0], rows.at(-1)]
  // An empty page has no rows for a position: it leads back to the requested one, inclusively.
  const positionAt = (row: Row | undefined, direction: Position['direction']) =>
    row
      ? { value: keyOf(row), id: row.id, direction, inclusive: false }
      : from && { ...from, direction, inclusive: true }
  return {
    rows,
    next: isReverse || more ? positionAt(last, 'after') : null,
    previous: from && (!isReverse || more) ? positionAt(first, 'before') : null,
  }
}
