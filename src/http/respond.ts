/** The frame of every response: a request id, the headers that all have, a line in the log, problem documents. */
import type { Context } from 'hono'
import { limitAddress } from '../core/addresses.ts'
import type { Answer } from './answer.ts'
import { type AddressReader, addressReader } from './client-address.ts'
import type { Exchange, Runtime } from './deps.ts'
import { answerProblem } from './problem-answer.ts'

/**
 * Answers with plain data, or with a Response that others made, such as a file server. May throw a Problem,
 * SessionEnded, or errors of the database and the password hasher.
 */
export type Act = (exchange: Exchange) => Promise<Answer | Response>

/** Answers a request as `act` does, or with the problem document of its error. */
export type Respond = (c: Context, act: Act) => Promise<Response>

/** @param note hears of every error that a request fails with */
export function createRespond(
  { provide, connectionAddress, proxiesAreNear }: Runtime,
  note: (error: unknown) => void,
): Respond {
  const readAddress = addressReader(proxiesAreNear)
  return async function respond(c, act) {
    const exchange = new OpenExchange(c, provide(c), connectionAddress(c), readAddress)
    let answer: Answer | Response
    try {
      answer = await act(exchange)
    } catch (error) {
      note(error)
      answer = await answerProblem(error, exchange)
    }
    record(exchange, answer.status)
    return answer instanceof Response ? answer : toResponse(exchange, answer)
  }
}

class OpenExchange implements Exchange {
  readonly begun = performance.now()
  readonly c: Context
  readonly deps: Exchange['deps']
  readonly requestId: string
  readonly headers: Exchange['headers']
  route: Exchange['route'] = undefined
  verdicts: Exchange['verdicts'] = []
  caller: Exchange['caller'] = undefined
  session: Exchange['session'] = undefined
  lookup: Exchange['lookup'] = undefined
  namedUserId: Exchange['namedUserId'] = undefined
  /** The connection's other end, read early: the connection may be closed when it is needed. */
  readonly #peer: string | undefined
  readonly #readAddress: AddressReader
  #clientAddress: string | undefined = undefined

  constructor(c: Context, deps: Exchange['deps'], peer: string | undefined, readAddress: AddressReader) {
    this.c = c
    this.deps = deps
    this.#peer = peer
    this.requestId = requestId(c)
    this.headers = commonHeaders(this.requestId)
    if (deps.config.publicUrl.startsWith('https:'))
      this.headers['Strict-Transport-Security'] = 'max-age=31536000'
    this.#readAddress = readAddress
  }

  /** Parsed when it is asked for: a request with a valid token seldom needs it. */
  get clientAddress(): string {
    this.#clientAddress ??= this.#readAddress(this.#peer, this.c, this.deps)
    return this.#clientAddress
  }

  get limitAddress(): string {
    return limitAddress(this.clientAddress)
  }
}

/** Besides the id, those of OWASP's REST security cheat sheet that concern an API that serves no HTML. */
const commonHeaders = (requestId: string): Record<string, string> => ({
  'X-Request-Id': requestId,
  'X-Content-Type-Options': 'nosniff',
  'Content-Security-Policy': "default-src 'none'; frame-ancestors 'none'",
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  // A response that may be stored says so itself.
  'Cache-Control': 'no-store',
})

/** Keeps a client's own id when it is harmless in a header and in a log. */
function requestId(c: Context): string {
  const sent = c.req.header('X-Request-Id')
  return sent !== undefined && /^[\w.:+/=-]{1,128}$/.test(sent) ? sent : crypto.randomUUID()
}

/** Headers stay a plain object, which @hono/node-server passes on to node:http as it is. */
function toResponse({ headers }: Exchange, { status, headers: own, body }: Answer): Response {
  if (body !== null) headers['Content-Type'] = 'application/json'
  return new Response(body, { status, headers: own ? Object.assign(headers, own) : headers })
}

function record(exchange: OpenExchange, status: number) {
  const { deps, c, route, session, namedUserId, requestId, begun } = exchange
  const { method } = c.req
  const ms = performance.now() - begun
  deps.metrics.requestAnswered({ method, route, status, ms })
  deps.log.info('request', {
    request_id: requestId,
    method,
    route: route ?? null,
    status,
    ms: Math.round(ms),
    user_id: session?.caller.userId ?? namedUserId ?? null,
    ...originOf(exchange, status),
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
function originOf(exchange: Exchange, status: number) {
  const { c, route, namedUserId } = exchange
  if (route !== undefined && namedUserId === undefined && !refusals.includes(status)) return undefined
  const address = exchange.clientAddress
  if (route !== undefined) return { address }
  const path = new URL(c.req.url).pathname
  return { address, path: path.length > longestPath ? `${path.slice(0, longestPath)}…` : path }
}
