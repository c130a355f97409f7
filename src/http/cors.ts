/** Cross-origin requests (CORS), by Hono's middleware. */
import type { MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import type { Respond } from './respond.ts'

/** In characters: a longer list of requested headers is not repeated, so that headers stay under 4 KB. */
const longestRepeated = 1000

/** Middleware for pages of these origins. It answers a preflight itself. */
export function crossOrigin(origin: string[], respond: Respond): MiddlewareHandler {
  const options = {
    origin,
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    // A preflight is allowed every header: a browser adds no token by itself.
    exposeHeaders: [
      'Cache-Status',
      'ETag',
      'Idempotency-Replayed',
      'Link',
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'WWW-Authenticate',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
      'X-Request-Id',
    ],
    maxAge: 600,
  }
  const repeating = cors(options)
  // `*` covers every header but Authorization (Fetch standard, section 3.2.3); some old clients do not know
  // it.
  const brief = cors({ ...options, allowHeaders: ['*', 'Authorization'] })
  // Only an OPTIONS that asks for a method is a preflight (Fetch standard, section 3.2.2).
  return (c, next) => {
    if (c.req.method !== 'OPTIONS') return repeating(c, next)
    if (!c.req.header('Access-Control-Request-Method')) return next()
    const { length } = c.req.header('Access-Control-Request-Headers') ?? ''
    return respond(c, async ({ headers }) => {
      for (const [name, value] of Object.entries(headers)) c.res.headers.set(name, value)
      return (await (length > longestRepeated ? brief : repeating)(c, next)) ?? c.res
    })
  }
}
