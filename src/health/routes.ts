import type { Hono, MiddlewareHandler } from 'hono'
import { isLive, refuseEnded } from '../http/authenticate.ts'
import { bearerToken, unauthorized } from '../http/bearer.ts'
import type { AppEnv } from '../http/deps.ts'
import type { OpenApiDocument } from '../http/openapi.ts'
import { mount } from '../http/operation.ts'
import * as operations from './operations.ts'
import type { ReadinessCheck } from './readiness.ts'

type Parts = { describe: () => OpenApiDocument; checkReadiness: ReadinessCheck['check'] }

export function mountService(app: Hono<AppEnv>, { describe, checkReadiness }: Parts) {
  mount(app, operations.getRateLimit, async (c) => {
    const { caller, verdicts } = c.var
    if (!caller && bearerToken(c.req.header('Authorization')) !== undefined)
      throw unauthorized({ invalid: true })
    if (!(await isLive(c))) return refuseEnded(c)
    const [verdict] = verdicts
    if (!verdict) throw new TypeError('the rate limit has not run')
    const { rule, remaining, resetAt } = verdict
    return c.json({
      limit: rule.limit,
      remaining,
      reset: Math.ceil(resetAt / 1000),
      window: rule.windowMs / 1000,
    })
  })

  mount(app, operations.getHealth, (c) => c.json({ status: 'alive' }))

  mount(app, operations.getReadiness, async (c) => {
    const readiness = await checkReadiness(c.get('deps'))
    return c.json(readiness, readiness.status === 'unavailable' ? 503 : 200)
  })

  let document: string | undefined
  mount(app, operations.getOpenApi, (c) => {
    document ??= JSON.stringify(describe())
    return c.body(document, 200, { 'Content-Type': 'application/json' })
  })
}

/** Swagger UI runs from files of ours alone: no script, style or font comes from elsewhere, and none stands in the page. */
const referencePagePolicy =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"

export function mountReferencePage(app: Hono<AppEnv>, serve: MiddlewareHandler<AppEnv>) {
  app.on('GET', ['/docs', '/docs/*'], async (c) => {
    c.set('route', '/docs')
    // Servers of files differ in what they make of an odd path.
    const response = /^\/docs(\/[\w.-]+)?$/.test(c.req.path) ? await serve(c, async () => {}) : undefined
    if (!response) return c.notFound()
    c.header('Content-Security-Policy', referencePagePolicy)
    c.header('Cache-Control', 'public, max-age=3600')
    return response
  })
}
