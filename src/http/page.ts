/** Pages of a list: their parameters, the rows of one page, and the URLs of the next and the previous one. */
import type { Context } from 'hono'
import * as z from 'zod'
import type { AppEnv } from '../deps.ts'
import { invalidInput } from '../problem.ts'
import { refuse } from './authenticate.ts'
import { type List, type Position, readCursor, writeCursor } from './cursor.ts'
import { text } from './text.ts'

export const Limit = z
  .string()
  .transform((value, context) => {
    const limit = /^\d{1,3}$/.test(value) ? Number(value) : 0
    if (limit >= 1 && limit <= 100) return limit
    context.addIssue('It must be a whole number from 1 to 100.')
    return z.NEVER
  })
  .default(20)
  .meta({ type: 'integer', minimum: 1, maximum: 100, description: '20 when absent' })

export const Cursor = text({ maximum: 2000 })
  .transform((value) => value || undefined)
  .optional()
  .describe('From next or previous')

/** A longer header is left out: proxies take some KB of headers at most, nginx 4 KB by default. */
const longestLink = 2047

/** The position in the request's cursor; null without one. A cursor that was not made for this list is refused. */
export async function positionOf(c: Context<AppEnv>, list: List): Promise<Position | null> {
  const { cursor } = list.query
  if (cursor === undefined) return null
  const foreign = invalidInput([{ parameter: 'cursor', detail: 'It is not a cursor of this list.' }])
  return readCursor(c.get('deps').keyring, list, cursor) ?? refuse(c, foreign)
}

type Page<Row> = { rows: Row[]; next: Position | null; previous: Position | null }

/**
 * Makes a page, in the list's order, of rows in the order they were read: backwards for a position with the direction
 * `before`. There is more in that direction when more rows were read than the page takes, which is `size`.
 */
export function pageOf<Row extends { id: number }>(
  read: Row[],
  { size, from, keyOf }: { size: number; from: Position | null; keyOf: (row: Row) => string },
): Page<Row> {
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

/** URLs of the pages around this one, and the value of a `Link` header with both; it is empty where there is none. */
export function linksOf(c: Context<AppEnv>, list: List, page: Pick<Page<unknown>, 'next' | 'previous'>) {
  const urlOf = (position: Position | null) => position && pageUrl(c, list, position)
  const [next, previous] = [urlOf(page.next), urlOf(page.previous)]
  const link = [next && `<${next}>; rel="next"`, previous && `<${previous}>; rel="prev"`]
    .filter(Boolean)
    .join(', ')
  return { next, previous, link: link.length > longestLink ? '' : link }
}

/** The request's own parameters, as they were parsed, with another cursor. Never built from the Host header. */
function pageUrl(c: Context<AppEnv>, list: List, position: Position): string {
  const { config, keyring } = c.get('deps')
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(list.query)) {
    if (c.req.query(name) && name !== 'cursor') parameters.set(name, String(value))
  }
  parameters.set('cursor', writeCursor(keyring, list, position))
  return `${config.publicUrl}${list.path}?${parameters}`
}
