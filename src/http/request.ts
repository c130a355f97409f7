/** What every request gets: an id, headers that hold for all answers, and a line in the log. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { addressReader } from './client-address.ts'
import type { AppEnv, Runtime } from './deps.ts'

/** Those of OWASP's REST security cheat sheet that concern an API that serves no HTML. */
const securityHeaders = {
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
}

export function request({ provide, ...addresses }: Runtime) {
  const readAddress = addressReader(addresses)
  return createMiddleware<AppEnv>(async function request(c, next) {
    const deps = provide(c)
    const begun = performance.now()
    c.set('deps', deps)
    c.set('requestId', requestId(c))
    c.set('clientAddress', readAddress(c))
    c.header('X-Request-Id', c.get('requestId'))
    for (const [name, value] of Object.entries(securityHeaders)) c.header(name, value)
    if (deps.config.publicUrl.startsWith('https:')) c.header('Strict-Transport-Security', 'max-age=31536000')
    // Whatever may be kept says so itself.
    c.header('Cache-Control', 'no-store')
    await next()
    const ms = performance.now() - begun
    const { method } = c.req
    const { status } = c.res
    deps.metrics.requestAnswered({ method, route: c.get('route'), status, ms })
    deps.log.info('request', {
      request_id: c.get('requestId'),
      method,
      route: c.get('route') ?? null,
      status,
      ms: Math.round(ms),
      user_id: c.get('caller')?.userId ?? c.get('userId') ?? null,
      ...whence(c, status),
    })
  })
}

const refusals = [401, 403, 429]
/** In characters, of a path that is logged. */
const longestPath = 200

/**
 * The address of logins and refreshes, of what is refused and of what no operation answers; of the last the
 * path too. Never a query: a search in it would be somebody's text. A URL's path is ASCII, percent-encoded,
 * so that it moves no terminal's cursor.
 */
function whence(c: Context<AppEnv>, status: number): { address?: string; path?: string } {
  const isUnknown = c.get('route') === undefined
  const isLogin = c.get('userId') !== undefined
  const path = isUnknown ? new URL(c.req.url).pathname : undefined
  return {
    ...(isUnknown || isLogin || refusals.includes(status) ? { address: c.get('clientAddress') } : {}),
    ...(path !== undefined && { path: path.length > longestPath ? `${path.slice(0, longestPath)}…` : path }),
  }
}

/** A client's own id is kept when it is harmless in a header and in a log. */
function requestId(c: Context): string {
  const sent = c.req.header('X-Request-Id')
  return sent !== undefined && /^[\w.:+/=-]{1,128}$/.test(sent) ? sent : crypto.randomUUID()
}
