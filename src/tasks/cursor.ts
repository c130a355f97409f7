/** Cursors: a place in an ordering, signed, and bound to the user, the ordering and the filters it was made for. */
import * as z from 'zod'
import { fromBase64Url, type Keys, sign, toBase64Url, verify } from '../keys.ts'
import type { TaskListQuery } from './schemas.ts'

export type Position = {
  /** Value of the ordering's column, as text. */
  value: string
  id: number
  /** Whether the page goes on after the position or comes before it, in the list's order. */
  direction: 'after' | 'before'
  /** Whether the task at the position itself belongs to the page. */
  inclusive: boolean
}

const Content = z.tuple([z.string(), z.int().positive(), z.enum(['after', 'before']), z.boolean()])

/** Not the limit and the count: they may change from page to page. */
function scope(userId: number, { limit, count, cursor, ...bound }: TaskListQuery): string {
  const given = Object.entries(bound).filter(([, value]) => value !== undefined)
  return JSON.stringify([userId, given.sort(([a], [b]) => (a < b ? -1 : 1))])
}

export async function writeCursor(keyring: Keys[], userId: number, query: TaskListQuery, position: Position) {
  const [signing] = keyring
  if (!signing) throw new RangeError('a keyring needs a key')
  const { value, id, direction, inclusive } = position
  const content = toBase64Url(new TextEncoder().encode(JSON.stringify([value, id, direction, inclusive])))
  return `${content}.${await sign(signing.cursor, `${content}.${scope(userId, query)}`)}`
}

/** Null for a cursor that was not made for this list of this user. */
export async function readCursor(
  keyring: Keys[],
  userId: number,
  query: TaskListQuery,
): Promise<Position | null> {
  const [content = '', mac = '', ...rest] = (query.cursor ?? '').split('.')
  const bytes = fromBase64Url(content)
  if (!bytes || rest.length > 0) return null
  const message = `${content}.${scope(userId, query)}`
  for (const keys of keyring) {
    if (!(await verify(keys.cursor, mac, message))) continue
    const [value, id, direction, inclusive] = Content.parse(JSON.parse(new TextDecoder().decode(bytes)))
    return { value, id, direction, inclusive }
  }
  return null
}
