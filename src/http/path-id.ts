import type { Context } from 'hono'

/** The id in the path; null for what is none. The statement is still run then, as it is what asks whether the session lives. */
export function pathId(c: Context): number | null {
  const id = c.req.param('id') ?? ''
  return /^[1-9]\d{0,14}$/.test(id) ? Number(id) : null
}
