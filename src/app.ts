/** The map: what every request passes, in order, and the features. */
import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { HTTPException } from 'hono/http-exception'
import postgres from 'postgres'
import * as accounts from './accounts/operations.ts'
import { mountAccounts } from './accounts/routes.ts'
import { errorFields } from './core/log.ts'
import { notFound, Problem, problemMediaType, unavailable } from './core/problem.ts'
import * as service from './health/operations.ts'
import { createReadinessCheck } from './health/readiness.ts'
import { mountReferencePage, mountService } from './health/routes.ts'
import { isLive } from './http/authenticate.ts'
import { acceptHeader } from './http/body.ts'
import { mayBeCached } from './http/cached-answer.ts'
import { databaseProblem } from './http/database-problem.ts'
import type { AppEnv, Runtime } from './http/deps.ts'
import { describeOperations } from './http/openapi.ts'
import type { Operation } from './http/operation.ts'
import { countAsAnonymous, rateLimit } from './http/rate-limit.ts'
import { request } from './http/request.ts'
import { DatabaseBusyError, DatabaseUnavailableError, DeadlineError } from './ports/database.ts'
import { HasherBusyError } from './ports/passwords.ts'
import * as tasks from './tasks/operations.ts'
import { mountTasks } from './tasks/routes.ts'

export const operations: Operation[] = [
  ...Object.values(accounts),
  ...Object.values(tasks),
  ...Object.values(service),
]

type AppOptions = Runtime & {
  /** Origins whose pages may call; none by default. */
  corsOrigins: string[]
  publicUrl: string
  /** Serves `/docs` and the files below it, where the platform does not. */
  referencePage?: MiddlewareHandler
}

export function createApp({ corsOrigins, publicUrl, referencePage, ...runtime }: AppOptions): Hono<AppEnv> {
  const app = new Hono<AppEnv>({ strict: false })

  app.use(request(runtime))
  if (corsOrigins.length > 0) app.use(crossOrigin(corsOrigins))
  app.on('GET', ['/api/tasks', '/api/tasks/:id'], mayBeCached)
  app.use('/api/*', rateLimit)
  mountAccounts(app)
  mountTasks(app)
  const readiness = createReadinessCheck()
  mountService(app, {
    describe: () => describeOperations(operations, publicUrl),
    checkReadiness: readiness.check,
  })
  if (referencePage) mountReferencePage(app, referencePage)

  // Hono passes what is thrown here by the middleware, and the log with it.
  app.notFound((c) => answerUnmatched(c).catch((error: Error) => answerProblem(c, problemOf(error, c))))
  app.onError((error, c) => {
    readiness.note(error)
    return answerProblem(c, problemOf(error, c))
  })
  return app
}

/** A preflight may ask for more, but an answer repeats no longer list: its headers stay under 4 KB. */
const longestRepeated = 1000

function crossOrigin(origin: string[]): MiddlewareHandler {
  const options = {
    origin,
    allowMethods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    // A preflight is allowed every header that it asks for: a token is no credential that a browser adds by itself.
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
  // Every header but Authorization is meant by `*` (Fetch standard, section 3.2.3); some old clients do not know it.
  const brief = cors({ ...options, allowHeaders: ['*', 'Authorization'] })
  // Only an OPTIONS that asks for a method is a preflight (Fetch standard, section 3.2.2).
  return (c, next) => {
    if (c.req.method === 'OPTIONS' && !c.req.header('Access-Control-Request-Method')) return next()
    const { length } = c.req.header('Access-Control-Request-Headers') ?? ''
    return (length > longestRepeated ? brief : repeating)(c, next)
  }
}

// The reference page is no operation: it takes whatever query it is sent.
const page: Pick<Operation, 'method' | 'path' | 'body'> = { method: 'get', path: '/docs' }
const known = [...operations, page].map(({ method, path, body }) => ({
  method: method.toUpperCase(),
  mediaTypes: body?.mediaTypes ?? [],
  // As Hono has it, which takes one slash off the end of a path.
  pattern: new RegExp(`^${path.replace(/:\w+/g, '[^/]+').replace(/\/$/, '')}$`),
}))

/** Where the path is known, 204 for OPTIONS and 405 otherwise, else 404; none needs a token, but one that is dead counts as none. */
async function answerUnmatched(c: Context<AppEnv>): Promise<Response> {
  if (!(await isLive(c))) await countAsAnonymous(c)
  const possible = known.filter(({ pattern }) => pattern.test(c.req.path))
  if (possible.length === 0) throw notFound()
  const methods = possible.flatMap(({ method }) => (method === 'GET' ? ['GET', 'HEAD'] : [method]))
  const headers = { Allow: [...methods, 'OPTIONS'].join(', ') }
  if (c.req.method !== 'OPTIONS') throw new Problem(405, `${c.req.method} is not possible here.`, { headers })
  const accepted = possible.flatMap(({ method, mediaTypes }) =>
    Object.entries(acceptHeader(method, mediaTypes)),
  )
  return c.body(null, 204, { ...headers, ...Object.fromEntries(accepted) })
}

function problemOf(error: Error, c: Context<AppEnv>): Problem {
  if (error instanceof Problem) return error
  if (error instanceof HTTPException && error.status === 400) return new Problem(400, error.message)
  if (error instanceof HasherBusyError)
    return unavailable('Too many passwords are being checked at the moment.', 5)
  if (error instanceof DatabaseBusyError)
    return unavailable('Too many searches and counts are under way at the moment.', 2)
  // SQLSTATE class 22: a value that Postgres cannot hold, past all our checks.
  if (error instanceof postgres.PostgresError && error.code.startsWith('22')) {
    return new Problem(400, 'The request has a value that cannot be used.')
  }
  const { log } = c.get('deps')
  const fields = { request_id: c.get('requestId'), route: c.get('route') ?? null, ...errorFields(error) }
  if (error instanceof DeadlineError || error instanceof DatabaseUnavailableError) {
    log.warn('the database could not be used', fields)
    return databaseProblem(error)
  }
  log.error('request failed', fields)
  return new Problem(500, 'Something went wrong here; the request id finds it in the logs.')
}

function answerProblem(c: Context<AppEnv>, problem: Problem): Response {
  for (const [name, value] of Object.entries(problem.options.headers ?? {})) c.header(name, value)
  const document = { ...problem.toJSON(), request_id: c.get('requestId') }
  return c.body(JSON.stringify(document), problem.status, { 'Content-Type': problemMediaType })
}
