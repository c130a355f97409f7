/** Pages of a list: their parameters, and the URLs of the next and the previous one. */
import type { Context } from 'hono'
import * as z from 'zod'
import { invalidInput } from '../core/problem.ts'
import { refuse } from './authenticate.ts'
import { type List, type Position, readCursor, writeCursor } from './cursor.ts'
import type { AppEnv } from './deps.ts'
import type { Pages } from './page-rows.ts'
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
  .meta({ type: 'integer', minimum: 1, maximum: 100, default: 20, description: 'Length of a page at most' })

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

/**
 * URLs of the pages around this one, the cursor of the next one, and the value of a `Link` header with both URLs; that is
 * empty where there is none.
 */
export function linksOf(c: Context<AppEnv>, list: List, page: Pages) {
  const cursorOf = (position: Position | null) =>
    position && writeCursor(c.get('deps').keyring, list, position)
  const [nextCursor, previousCursor] = [cursorOf(page.next), cursorOf(page.previous)]
  const next = nextCursor && pageUrl(c, list, nextCursor)
  const previous = previousCursor && pageUrl(c, list, previousCursor)
  const link = [next && `<${next}>; rel="next"`, previous && `<${previous}>; rel="prev"`]
    .filter(Boolean)
    .join(', ')
  return { next, previous, next_cursor: nextCursor, link: link.length > longestLink ? '' : link }
}

/** The request's own parameters, as they were parsed, with another cursor. Never built from the Host header. */
function pageUrl(c: Context<AppEnv>, list: List, cursor: string): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(list.query)) {
    // A parameter that is as if absent has no value once parsed; one that is absent may have its default.
    if (value !== undefined && c.req.query(name) && name !== 'cursor') parameters.set(name, String(value))
  }
  parameters.set('cursor', cursor)
  return `${c.get('deps').config.publicUrl}${list.path}?${parameters}`
}
