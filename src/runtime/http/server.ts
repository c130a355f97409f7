/** The app on node:http. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { setImmediate as afterReading } from 'node:timers/promises'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Logger } from '../../core/log.ts'
import { type Answer, type Connection, openConnection } from './connection.ts'
import { listenOn } from './listen.ts'
import { answerRaw, malformedRequest, type Refusal, refusalOf, refuse } from './malformed-request.ts'
import { normalizeRequest } from './request-syntax.ts'

export type HttpServer = {
  port: number
  /**
   * Takes no more connections, gives each that it has one more answer, which says that it is the last, and resolves when
   * every request under way has been answered, or after `graceMs`. Answers said so no earlier: a proxy would make a
   * new connection for each request, and one that is not accepted yet is lost when the listener closes.
   */
  close(graceMs: number): Promise<void>
}

type Fetch = Parameters<typeof getRequestListener>[0]
type Options = { host: string; port: number; maxConnections: number; log: Pick<Logger, 'warn'> }

/** A client has this long to send its headers, and its whole request; an idle connection is closed after the last. */
const timeouts = {
  headersTimeout: 20_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
}
/** A connection is closed when nothing has moved on it for so long, as where the client reads no answer. */
const stalledMs = 120_000
/** Connections above the bound that are told so rather than closed at once, and how long each is kept for it. */
const turnedAwayAtOnce = 20
const turnAwayMs = 2000
const warnEveryMs = 60_000
/** A request may be on its way on a connection that looks idle: it has this long to arrive. */
const idleGraceMs = 1000

/** @throws StartError when the address cannot be had */
export async function listen(fetch: Fetch, options: Options): Promise<HttpServer> {
  const { host, port, maxConnections } = options
  const answer = answerWith(fetch)
  const connections = new Map<Socket, Connection>()
  const turnedAway = new WeakSet<Socket>()
  const warnOfFull = createWarning(options)
  let closing = false

  // The listener checks the Host itself: node:http would answer without a body, and let two of them pass.
  const server = createServer({ ...timeouts, requireHostHeader: false })
  // A client that has sent its request may close its half of the connection, and still gets its answer.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.timeout = stalledMs
  // Their total size is bounded; their number would be bounded by leaving the last ones out, without a word.
  server.maxHeadersCount = 0
  server.maxConnections = maxConnections + turnedAwayAtOnce
  server.on('drop', warnOfFull)

  server.on('connection', (socket) => {
    if (connections.size >= maxConnections) {
      warnOfFull()
      turnedAway.add(socket)
      setTimeout(() => socket.destroy(), turnAwayMs).unref()
    }
    const connection = openConnection(socket)
    connections.set(socket, connection)
    if (closing) connection.endWithNextAnswer()
    socket.once('close', () => connections.delete(socket))
  })

  const inTurn = (usual: Answer) => (incoming: IncomingMessage, outgoing: ServerResponse) =>
    connections
      .get(incoming.socket)
      ?.take({ incoming, outgoing, answer: turnedAway.has(incoming.socket) ? answerFull : usual })

  server.on('request', inTurn(answer))
  server.on('checkContinue', inTurn(whenContinued(answer)))
  server.on('checkExpectation', inTurn(answerExpectation))
  server.on('connect', ({ socket }) => connections.get(socket)?.refuseTunnel(noTunnel))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const connection = connections.get(socket)
    if (error.code === 'ECONNRESET' || !connection) socket.destroy()
    else connection.fail(refusalOf(error))
  })

  /** Once what has arrived by now is read: until then a connection may look idle and not be. */
  async function closeIdle() {
    await afterReading()
    for (const connection of connections.values()) connection.closeIfUnused()
    server.closeIdleConnections()
  }

  return {
    port: await listenOn(server, { host, port, names: { host: 'HOST', port: 'PORT' } }),
    async close(graceMs) {
      closing = true
      for (const connection of connections.values()) connection.endWithNextAnswer()
      const idleUntil = Date.now() + idleGraceMs
      const idle = setInterval(() => Date.now() >= idleUntil && closeIdle(), 50)
      const all = setTimeout(() => server.closeAllConnections(), graceMs)
      // Connections that wait to be accepted would be reset.
      await afterReading()
      // Not node:http's own close, which would close idle connections at once.
      await new Promise((resolve) => NetServer.prototype.close.call(server, resolve))
      clearInterval(idle)
      clearTimeout(all)
    },
  }
}

const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'
const noTunnel: Refusal = {
  status: 405,
  detail: 'CONNECT is not possible here.',
  headers: { Allow: methods },
}
const full: Refusal = {
  status: 503,
  detail: 'There are as many connections as this process may hold.',
  headers: { 'Retry-After': '1' },
}
const answerFull: Answer = (_, outgoing) => refuse(outgoing, full)
const answerExpectation: Answer = (_, outgoing) => refuse(outgoing, { status: 417 })

function answerWith(fetch: Fetch): Answer {
  const answer = getRequestListener(fetch, { errorHandler: answerMalformed, hostname: 'localhost' })
  return (incoming, outgoing) => {
    // A request of HTTP/0.9 has no headers, nor has its answer.
    if (incoming.httpVersionMajor < 1) return answerRaw(incoming.socket, { status: 400 })
    const refusal = normalizeRequest(incoming)
    if (refusal) refuse(outgoing, refusal)
    else if (incoming.url === '*')
      outgoing.writeHead(204, { Allow: methods, 'X-Request-Id': crypto.randomUUID() }).end()
    else answer(incoming, outgoing)
  }
}

/** A client that waits to be told sends its body once the app begins to read it, and not where the app refuses before. */
function whenContinued(answer: Answer): Answer {
  return (incoming, outgoing) => {
    const read = incoming._read
    incoming._read = (size) => {
      incoming._read = read
      if (!outgoing.headersSent) outgoing.writeContinue()
      incoming._read(size)
    }
    answer(incoming, outgoing)
  }
}

/** For a request that node:http could read but that makes no URL. */
function answerMalformed(error: unknown): Response {
  if (!(error instanceof RequestError)) throw error
  const { body, headers } = malformedRequest(400)
  return new Response(body, { status: 400, headers: { ...headers, Connection: 'close' } })
}

/** Says at most once a minute that connections are turned away. */
function createWarning({ maxConnections, log }: Pick<Options, 'maxConnections' | 'log'>) {
  let saidAt = 0
  return () => {
    if (Date.now() - saidAt < warnEveryMs) return
    saidAt = Date.now()
    log.warn('connections are turned away: MAX_CONNECTIONS are open', { connections: maxConnections })
  }
}
