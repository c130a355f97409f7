/** Compiles an operation and its handler at start into one function that answers with plain data. */
import { type Context, Hono } from 'hono'
import { SessionEnded } from '../auth/caller.ts'
import { notFound, Problem } from '../core/problem.ts'
import type { Answer } from './answer.ts'
import { identify, rejectSession, requireCaller, requireLiveSession } from './authenticate.ts'
import { acceptHeader, readBody } from './body.ts'
import { cachedOr } from './cached-answer.ts'
import { answerConditionally, preconditionOf } from './conditional.ts'
import type { List } from './cursor.ts'
import type { CallerExchange, Exchange } from './deps.ts'
import { idempotencyKeyOf } from './idempotency.ts'
import { headersOf, type Input, limitOf, type Operation } from './operation.ts'
import { openPage } from './page.ts'
import { type LimitUse, limitRequest } from './rate-limit.ts'
import type { Act, Respond } from './respond.ts'
import { createValidator, nothing } from './validate.ts'

/** A compiled operation. */
export type Implementation = { operation: Operation; act: Act }

type Handler<O extends Operation> = (
  exchange: O['authenticated'] extends true ? CallerExchange : Exchange,
  input: Input<O>,
) => Answer | Promise<Answer>

export function implement<const O extends Operation>(operation: O, handle: Handler<O>): Implementation {
  const { authenticated, body, cached, conditional, idempotency, method, paged, path } =
    operation as Operation
  const { query = nothing } = operation
  const hasId = path.includes('/:id/')
  const limit = limitOf(operation)
  const validate = createValidator({ query, headers: headersOf(operation), body: body?.schema })

  async function readInput(exchange: Exchange) {
    const { c } = exchange
    if (body) await readBody(c, body.mediaTypes)
    await validate(c)
    return {
      query: valid(c, 'query'),
      body: valid(c, 'json') ?? valid(c, 'form'),
      id: hasId ? pathId(c) : undefined,
      page: paged && openPage(exchange, path, valid(c, 'query') as List['query']),
      precondition: conditional === undefined ? undefined : preconditionOf(c),
      idempotencyKey: idempotency && (await idempotencyKeyOf(c)),
    }
  }

  async function make(exchange: Exchange): Promise<Answer> {
    let input: Awaited<ReturnType<typeof readInput>>
    try {
      input = await readInput(exchange)
    } catch (error) {
      await requireLiveSession(exchange)
      throw error
    }
    return handle(exchange as CallerExchange, input as Input<O>)
  }

  async function act(exchange: Exchange): Promise<Answer> {
    exchange.route = path
    const identifying = limit?.class === 'general' ? identify(exchange) : undefined
    if (identifying) await identifying
    if (limit) await limitRequest(exchange, limit, cached)
    if (authenticated === true) exchange.caller = requireCaller(exchange)
    // A cached answer exists only where this very query was valid.
    const answer = cached ? await cachedOr(exchange, () => make(exchange)) : await make(exchange)
    return conditional !== undefined && method === 'get'
      ? answerConditionally(answer, preconditionOf(exchange.c), conditional)
      : answer
  }

  return { operation, act }
}

/** Hono types what was validated along a chain of calls; here the declaration knows. */
const valid = (c: Context, target: 'query' | 'json' | 'form'): unknown => c.req.valid(target as never)

function pathId(c: Context): number | null {
  const id = c.req.param('id') ?? ''
  return /^[1-9]\d{0,14}$/.test(id) ? Number(id) : null
}

export function mount(app: Hono, implementations: Implementation[], respond: Respond) {
  const answer = (act: Act) => (c: Context) => respond(c, act)
  const byPath = new Map<string, Implementation[]>()
  for (const each of implementations)
    byPath.set(each.operation.path, [...(byPath.get(each.operation.path) ?? []), each])
  // Apart from the operations, so that one route matches a request of theirs: Hono then calls its handler
  // without putting a chain of handlers together.
  const others = new Hono({ strict: false })
  for (const [path, sharing] of byPath) {
    // The app is not strict about a trailing slash, so the path without it answers the same.
    const route = path.replace(/\/$/, '')
    for (const { operation, act } of sharing) app.on(operation.method.toUpperCase(), [route], answer(act))
    others.all(route, answer(otherMethod(sharing.map(({ operation }) => operation))))
  }
  for (const { operation } of implementations)
    if (operation.limit?.class === 'token')
      others.all(`${operation.path}*`, answer(unknownPath(operation.limit)))
  // The reference page is not an operation: it takes any query.
  others.all('/docs', answer(otherMethod([{ method: 'get', limit: null }])))
  others.all('/api/*', answer(unknownPath({ class: 'general', cost: 1 })))
  others.notFound(answer(unknownPath(null)))
  app.notFound((c) => others.fetch(c.req.raw, c.env))
}

/** Counts a request that no operation answers; the token of an ended session counts as none. */
async function countUnmatched(exchange: Exchange, limit: LimitUse | null) {
  if (!limit) return
  if (limit.class === 'general') await identify(exchange)
  await limitRequest(exchange, limit)
  await requireLiveSession(exchange).catch((error: unknown) => {
    if (!(error instanceof SessionEnded)) throw error
    return rejectSession(exchange)
  })
}

const unknownPath =
  (limit: LimitUse | null): Act =>
  async (exchange) => {
    await countUnmatched(exchange, limit)
    throw notFound()
  }

/** 204 for OPTIONS, and 405 for a method that the path does not have. */
function otherMethod(operations: Pick<Operation, 'method' | 'body' | 'limit'>[]): Act {
  const methods = operations.flatMap(({ method }) =>
    method === 'get' ? ['GET', 'HEAD'] : [method.toUpperCase()],
  )
  const headers = { Allow: [...methods, 'OPTIONS'].join(', ') }
  const accepted = operations.flatMap(({ method, body }) =>
    Object.entries(acceptHeader(method.toUpperCase(), body?.mediaTypes ?? [])),
  )
  const [first] = operations
  const limit = first ? limitOf(first) : null
  return async (exchange) => {
    await countUnmatched(exchange, limit)
    const { method } = exchange.c.req
    if (method !== 'OPTIONS') throw new Problem(405, `${method} is not possible here.`, { headers })
    return { status: 204, headers: { ...headers, ...Object.fromEntries(accepted) }, body: null }
  }
}
