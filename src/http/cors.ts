/** Cross-origin requests (CORS), by Hono's middleware. */
import type { MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import type { AppEnv } from './deps.ts'

/** In characters: a longer list of requested headers is not repeated, so that headers stay under 4 KB. */
const longestRepeated = 1000

/** Middleware for pages of these origins. */
export function crossOrigin(origin: string[]): MiddlewareHandler<AppEnv> {
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
    if (c.req.method === 'OPTIONS') {
      if (!c.req.header('Access-Control-Request-Method')) return next()
      // Hono's middleware answers a preflight itself.
      for (const [name, value] of Object.entries(c.get('exchange').headers)) c.res.headers.set(name, value)
    }
    const { length } = c.req.header('Access-Control-Request-Headers') ?? ''
    return (length > longestRepeated ? brief : repeating)(c, next)
  }
}
