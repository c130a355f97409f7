/** Pages of a list: their parameters, and the URLs of the next and the previous one. */
import type { Context } from 'hono'
import * as z from 'zod'
import { invalidInput } from '../core/problem.ts'
import type { Pages, Position } from '../resource/page.ts'
import { type List, readCursor, writeCursor } from './cursor.ts'
import type { Exchange } from './deps.ts'
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

/** One page of a list, as requested. */
export type Page = {
  /** Where the page begins; null for the first one. */
  position: Position | null
  /** URLs of the pages around this one, the next one's cursor, and headers with both URLs. */
  links(pages: Pages): {
    next: string | null
    previous: string | null
    next_cursor: string | null
    headers: Record<string, string>
  }
}

/** @throws Problem 400 for a cursor that was not made for this list */
export function openPage({ c, deps, session }: Exchange, path: string, query: List['query']): Page {
  const list: List = { path, userId: session?.caller.userId ?? 0, query }
  const { cursor } = query
  const position = cursor === undefined ? null : readCursor(deps.keyring, list, cursor)
  if (cursor !== undefined && position === null)
    throw invalidInput([{ parameter: 'cursor', detail: 'It is not a cursor of this list.' }])
  const cursorOf = (to: Position | null) => to && writeCursor(deps.keyring, list, to)
  const urlOf = (cursor: string | null) =>
    cursor && `${deps.config.publicUrl}${path}?${parametersWith(cursor, query, c)}`
  return {
    position,
    links(pages) {
      const next_cursor = cursorOf(pages.next)
      const [next, previous] = [urlOf(next_cursor), urlOf(cursorOf(pages.previous))]
      const link = [next && `<${next}>; rel="next"`, previous && `<${previous}>; rel="prev"`]
        .filter(Boolean)
        .join(', ')
      const headers: Record<string, string> = link && link.length <= longestLink ? { Link: link } : {}
      return { next, previous, next_cursor, headers }
    },
  }
}

/** The request's own parameters, as they were parsed, with another cursor. */
function parametersWith(cursor: string, query: object, c: Context): URLSearchParams {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    // A parameter that counts as absent has no value once parsed; an absent one may have its default.
    if (value !== undefined && c.req.query(name) && name !== 'cursor') parameters.set(name, String(value))
  }
  parameters.set('cursor', cursor)
  return parameters
}
