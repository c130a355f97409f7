/** Cursors: positions in a list's order, signed, and bound to the list that they were made for. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { deflateSync, inflateSync } from 'node:zlib'
import * as z from 'zod'
import { fromBase64Url, type Keys, toBase64Url } from '../auth/keyring.ts'
import type { Position } from '../resource/page.ts'

/** A list: its path, its user and the request's parsed parameters. */
export type List = {
  /** The operation's path. */
  path: string
  userId: number
  query: { limit: number; cursor?: string | undefined; count?: boolean }
}

const Content = z.tuple([z.string().nullable(), z.int().positive(), z.enum(['after', 'before']), z.boolean()])

/** HMAC-SHA-256 cut to half its length, as RFC 2104 allows: the cursor is part of URLs. */
const macBytes = 16
/** Content that is longer, because of a long title, is compressed: 255 emoji are over 1,000 bytes. */
const longestPlain = 100
/** Holds the value, not only the id: the row may change before the next page is requested. */
export function writeCursor([signing]: Keys[], list: List, position: Position): string {
  if (!signing) throw new RangeError('a keyring needs a key')
  const { value, id, direction, inclusive } = position
  const plain = Buffer.from(JSON.stringify([value, id, direction, inclusive]))
  const content = plain.length > longestPlain ? deflateSync(plain) : plain
  return toBase64Url(Buffer.concat([macOf(signing, list, content), content]))
}

/** Null for a cursor that was not made for this list. */
export function readCursor(keyring: Keys[], list: List, cursor: string): Position | null {
  const bytes = fromBase64Url(cursor)
  if (!bytes || bytes.length <= macBytes) return null
  const [mac, content] = [bytes.subarray(0, macBytes), bytes.subarray(macBytes)]
  if (!keyring.some((keys) => timingSafeEqual(mac, macOf(keys, list, content)))) return null
  const isPlain = content[0] === '['.charCodeAt(0)
  const text = Buffer.from(isPlain ? content : inflateSync(content)).toString()
  const [value, id, direction, inclusive] = Content.parse(JSON.parse(text))
  return { value, id, direction, inclusive }
}

/** Does not cover the limit and the count: they may change from page to page. */
function macOf({ cursor: key }: Keys, { path, userId, query }: List, content: Uint8Array): Uint8Array {
  const { limit, count, cursor, ...bound } = query
  const given = Object.entries(bound).filter(([, value]) => value !== undefined)
  const scope = JSON.stringify([path, userId, given.sort(([a], [b]) => (a < b ? -1 : 1))])
  // A line break ends the scope: JSON has none.
  return createHmac('sha256', key).update(`${scope}\n`).update(content).digest().subarray(0, macBytes)
}
