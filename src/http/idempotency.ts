/** Idempotency keys (draft-ietf-httpapi-idempotency-key-header). */
import type { Context } from 'hono'
import * as z from 'zod'
import { toBase64Url } from '../auth/keyring.ts'

/** `hash` is the same for the same JSON value, whatever the order and form of its members. */
export type IdempotencyKey = { key: string; hash: string }

export const idempotencyHeaders = {
  'Idempotency-Key': z
    .string()
    .regex(/^[\x21-\x7e]{1,255}$/, 'It must have 1 to 255 visible ASCII characters.')
    .optional()
    .describe('A repeat with the same body within 24 hours answers as the first did'),
}

export const idempotencyProblems = {
  409: 'The first request with this Idempotency-Key is still under way',
  422: 'The Idempotency-Key was used with another body',
}

/** Undefined where the request has no key. To be called once the body was validated. */
export async function idempotencyKeyOf(c: Context): Promise<IdempotencyKey | undefined> {
  const key = c.req.header('Idempotency-Key')
  if (key === undefined) return undefined
  const sent: object = await c.req.json()
  const canonical = JSON.stringify(Object.entries(sent).sort(([a], [b]) => (a < b ? -1 : 1)))
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical))
  return { key, hash: toBase64Url(new Uint8Array(digest)) }
}
