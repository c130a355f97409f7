/** Puts together the statement of a list: the only one whose text depends on the request. */
import type * as z from 'zod'
import { type AddValue, keyset, type Ordering, type Position } from './page.ts'

/** A query parameter that narrows a list down. */
export type Filter<S extends z.ZodType = z.ZodType> = {
  schema: S
  /** Condition on `t`; `add` makes a parameter of a value. The caller's id is `$2`. */
  where: (value: NonNullable<z.output<S>>, add: AddValue) => string
}

export const filter = <S extends z.ZodType>(schema: S, where: Filter<S>['where']): Filter<S> => ({
  schema,
  where,
})

type FilterShape<F extends Record<string, Filter>> = {
  [Name in keyof F]: F[Name] extends Filter<infer S> ? z.ZodOptional<S> : never
}

/** The schemas of the filters' parameters, all optional. */
export const filterShape = <F extends Record<string, Filter>>(filters: F) =>
  Object.fromEntries(
    Object.entries(filters).map(([name, { schema }]) => [name, schema.optional()]),
  ) as FilterShape<F>

/** Each ordering by its name, and in reverse with a minus before it. */
export const orderingNames = (orderings: Record<string, Ordering>) =>
  Object.keys(orderings).flatMap((name) => [name, `-${name}`])

export type ListQuery = { ordering: string; limit: number; count: boolean }

type ListSource = {
  table: string
  /** Names of the table's columns that an answer is made from. */
  names: string[]
  /** The same columns as they are selected from `t`. */
  columns: string
  filters: Record<string, Filter>
  orderings: Record<string, Ordering>
  /**
   * Conditions on `t` for a user's id as SQL, each with an index for every ordering; a row is visible where one
   * of them holds.
   */
  sources: ((userId: string) => string)[]
  /** Condition on `sessions s` for the caller, whose ids are `$1` and `$2`. */
  live: string
}

export type Statement = {
  text: string
  values: (string | number | boolean | null)[]
  /** Name of the column that has the ordering's value, for cursors. */
  key: string
}

/**
 * A page of the rows that the caller may see, and one more where there is more; in reverse for a position
 * with direction `before`. Each source is read by itself from its place in an index, then merged: an `or`
 * would sort everything. A row that is in several sources is taken once. `values` begin at `$3`.
 *
 * The plan must not depend on the values at hand: Postgres would make a new one each time that they promise a
 * cheaper plan than the average does, which takes longer than to read a page. So the user is that of the
 * session, and the limit is a sum with a column, which the planner cannot know. It assumes a tenth of the rows,
 * and prefers an index's order to a sort, for a user with few rows and for one with many.
 *
 * Rows have the columns, the ordering's value under the name `key`, and `count` if the query asks for it. There
 * is one row of nulls for an empty page, and none when the session has ended.
 */
export function listStatement(
  { table, names, columns, filters, orderings, sources, live }: ListSource,
  query: ListQuery & Record<string, unknown>,
  position: Position | null,
): Statement {
  const values: Statement['values'] = []
  const add: AddValue = (value) => `$${values.push(value) + 2}`
  const ordering = orderings[query.ordering.replace('-', '')]
  if (!ordering) throw new RangeError(`there is no ordering ${query.ordering}`)
  const limit = `${add(query.limit + 1)}::bigint + 0 * s.id`
  const descending = query.ordering.startsWith('-')
  const { columns: sortColumns, orderBy, beyond } = keyset(ordering, { descending, position, add })
  const conditions = Object.entries(filters).flatMap(([name, { where }]) => {
    const value = query[name]
    return value === undefined || value === null ? [] : [`and ${where(value, add)}`]
  })
  const where = conditions.join(' ')
  const part = (source: string) => `
      select ${names.map((name) => `t.${name}`).join(', ')}, ${ordering.key} as sort_key from ${table} t
      where ${source} ${where} ${beyond} order by ${orderBy(ordering.key, 't.id')} limit ${limit}`
  const given = sources.length > 0 ? sources : [() => 'false']
  const parts = given.map((source) => `(${part(source('s.user_id'))})`).join(' union all ')
  const once = given.length > 1 ? `distinct on (${sortColumns('sort_key').join(', ')})` : ''
  const page = `
      select ${once} * from (${parts}) parts
      order by ${orderBy('sort_key')} limit ${limit}`
  // Without a column of the session it is counted once, not for each row.
  const matches = given.map((source) => `select t.id from ${table} t where ${source('$2')} ${where}`)
  const count = query.count ? `, (select count(*) from (${matches.join(' union ')}) matching) as count` : ''
  const column = names.find((name) => ordering.key === `t.${name}`)
  const key = ordering.type === 'timestamptz' ? 'extract(epoch from t.sort_key)' : 't.sort_key'
  const text = `
    select ${columns}${column ? '' : `, ${key} as sort_key`}${count}
    from sessions s left join lateral (${page}) t on true
    where ${live} order by ${orderBy('t.sort_key', 't.id')}`
  return { text, values, key: column ?? 'sort_key' }
}
