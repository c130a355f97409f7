/** Middleware of every request: an id, the headers that all responses have, and a line in the log. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { limitAddress } from '../core/addresses.ts'
import { addressReader } from './client-address.ts'
import type { AppEnv, Exchange, Runtime } from './deps.ts'

/** Those of OWASP's REST security cheat sheet that concern an API that serves no HTML. */
const securityHeaders = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
}

const transportSecurity = { 'Strict-Transport-Security': 'max-age=31536000' }

export function request({ provide, ...addresses }: Runtime) {
  const readAddress = addressReader(addresses)
  return createMiddleware<AppEnv>(async function request(c, next) {
    const deps = provide(c)
    const begun = performance.now()
    const clientAddress = readAddress(c, deps)
    const id = requestId(c)
    const exchange: Exchange = {
      deps,
      c,
      requestId: id,
      clientAddress,
      limitAddress: limitAddress(clientAddress),
      route: undefined,
      headers: {
        'X-Request-Id': id,
        ...securityHeaders,
        ...(deps.config.publicUrl.startsWith('https:') ? transportSecurity : {}),
        // A response that may be stored says so itself.
        'Cache-Control': 'no-store',
      },
      verdicts: [],
      session: undefined,
      lookup: undefined,
      namedUserId: undefined,
    }
    c.set('exchange', exchange)
    await next()
    const ms = performance.now() - begun
    const { route, session, namedUserId } = exchange
    const { method } = c.req
    const { status } = c.res
    deps.metrics.requestAnswered({ method, route, status, ms })
    deps.log.info('request', {
      request_id: exchange.requestId,
      method,
      route: route ?? null,
      status,
      ms: Math.round(ms),
      user_id: session?.caller.userId ?? namedUserId ?? null,
      ...originOf(exchange, status),
    })
  })
}

const refusals = [401, 403, 429]
/** In characters, of a path that is logged. */
const longestPath = 200

/**
 * Adds the address to the line of a login, a refresh, a refusal and an unknown path, and the path to the
 * last. Never the query: it may hold a user's text. A URL's path is percent-encoded ASCII, safe for a
 * terminal.
 */
function originOf({ c, route, namedUserId, clientAddress }: Exchange, status: number) {
  const isLogged = route === undefined || namedUserId !== undefined || refusals.includes(status)
  const path = route === undefined ? new URL(c.req.url).pathname : undefined
  return {
    ...(isLogged && { address: clientAddress }),
    ...(path !== undefined && { path: path.length > longestPath ? `${path.slice(0, longestPath)}…` : path }),
  }
}

/** Keeps a client's own id when it is harmless in a header and in a log. */
function requestId(c: Context): string {
  const sent = c.req.header('X-Request-Id')
  return sent !== undefined && /^[\w.:+/=-]{1,128}$/.test(sent) ? sent : crypto.randomUUID()
}
