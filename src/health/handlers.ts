/** Handlers of the operations around the API, and the reference page. */
import type { Hono, MiddlewareHandler } from 'hono'
import { notFound } from '../core/problem.ts'
import { json } from '../http/answer.ts'
import { requireLiveSession } from '../http/authenticate.ts'
import { bearerToken, unauthorized } from '../http/bearer.ts'
import type { Exchange } from '../http/deps.ts'
import { type Implementation, implement } from '../http/implement.ts'
import type { OpenApiDocument } from '../http/openapi.ts'
import type { Respond } from '../http/respond.ts'
import * as operations from './operations.ts'
import type { ReadinessCheck } from './readiness.ts'

type Parts = { describe: () => OpenApiDocument; checkReadiness: ReadinessCheck['check'] }

export function createHealth({ describe, checkReadiness }: Parts): Implementation[] {
  let document: string | undefined
  return [
    implement(operations.getRateLimit, async (exchange) => {
      const { c, session, verdicts } = exchange
      if (!session && bearerToken(c.req.header('Authorization')) !== undefined)
        throw unauthorized({ invalid: true })
      await requireLiveSession(exchange)
      const [verdict] = verdicts
      if (!verdict) throw new TypeError('the rate limit has not run')
      const { rule, remaining, resetAt } = verdict
      return json({
        limit: rule.limit,
        remaining,
        reset: Math.ceil(resetAt / 1000),
        window: rule.windowMs / 1000,
      })
    }),

    implement(operations.getHealth, () => json({ status: 'alive' })),

    implement(operations.getReadiness, async ({ deps }) => {
      const readiness = await checkReadiness(deps)
      return json(readiness, readiness.status === 'unavailable' ? 503 : 200)
    }),

    implement(operations.getOpenApi, () => {
      document ??= JSON.stringify(describe())
      return { status: 200, body: document }
    }),
  ]
}

/** Swagger UI from our own files alone: no script, style or font from elsewhere, and none inside the page. */
const referencePagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"

export function mountReferencePage(app: Hono, serve: MiddlewareHandler, respond: Respond) {
  const servePage = async (exchange: Exchange) => {
    const { c } = exchange
    exchange.route = '/docs'
    // File servers differ in how they treat an odd path.
    const response = /^\/docs(\/[\w.-]+)?$/.test(c.req.path) ? await serve(c, async () => {}) : undefined
    if (!response) throw notFound()
    const own = { 'Content-Security-Policy': referencePagePolicy, 'Cache-Control': 'public, max-age=3600' }
    for (const [name, value] of Object.entries({ ...exchange.headers, ...own }))
      response.headers.set(name, value)
    return response
  }
  app.on('GET', ['/docs', '/docs/*'], (c) => respond(c, servePage))
}
