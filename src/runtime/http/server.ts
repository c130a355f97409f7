/** Serves the app on node:http. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { setImmediate as afterReading } from 'node:timers/promises'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Logger } from '../../core/log.ts'
import { type Answer, type Connection, openConnection } from './connection.ts'
import { listenOn } from './listen.ts'
import { answerRaw, malformedRequest, type Refusal, refusalOf, refuse } from './malformed-request.ts'
import { normalizeRequest } from './request-syntax.ts'

type Fetch = Parameters<typeof getRequestListener>[0]
type Options = { host: string; port: number; maxConnections: number; log: Pick<Logger, 'warn'> }

const timeouts = {
  headersTimeout: 20_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
}
/** A connection without any progress is closed, as when the client does not read the answer. */
const stalledMs = 120_000
/** Connections above the limit that get a 503 before they are closed, and the time that each is kept. */
const rejectedAtOnce = 20
const rejectMs = 2000
const warnEveryMs = 60_000
/** Time for a request that is on its way on a connection that looks idle. */
const idleGraceMs = 1000

/** @throws StartError when the address cannot be used */
export async function listen(fetch: Fetch, options: Options) {
  const { host, port, maxConnections } = options
  const answer = answerWith(fetch)
  const connections = new Map<Socket, Connection>()
  const rejected = new WeakSet<Socket>()
  const warnOfFull = createWarning(options)
  let closing = false

  // normalizeRequest checks the Host: node:http would answer without a body, and accept two of them.
  const server = createServer({ ...timeouts, requireHostHeader: false })
  // A client may close its half of the connection after its request, and still gets its answer.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.timeout = stalledMs
  // The total size of headers is bounded. A bound on their number would drop the last ones silently.
  server.maxHeadersCount = 0
  server.maxConnections = maxConnections + rejectedAtOnce
  server.on('drop', warnOfFull)

  server.on('connection', (socket) => {
    if (connections.size >= maxConnections) {
      warnOfFull()
      rejected.add(socket)
      setTimeout(() => socket.destroy(), rejectMs).unref()
    }
    const connection = openConnection(socket)
    connections.set(socket, connection)
    if (closing) connection.endWithNextAnswer()
    socket.once('close', () => connections.delete(socket))
  })

  const inSequence = (usual: Answer) => (incoming: IncomingMessage, outgoing: ServerResponse) =>
    connections
      .get(incoming.socket)
      ?.take({ incoming, outgoing, answer: rejected.has(incoming.socket) ? answerFull : usual })

  server.on('request', inSequence(answer))
  server.on('checkContinue', inSequence(continueOnRead(answer)))
  server.on('checkExpectation', inSequence(answerExpectation))
  server.on('connect', ({ socket }) => connections.get(socket)?.refuseTunnel(noTunnel))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const connection = connections.get(socket)
    if (error.code === 'ECONNRESET' || !connection) socket.destroy()
    else connection.fail(refusalOf(error))
  })

  /** Reads first what has arrived: until then a busy connection may look idle. */
  async function closeIdle() {
    await afterReading()
    for (const connection of connections.values()) connection.closeIfUnused()
    server.closeIdleConnections()
  }

  return {
    port: await listenOn(server, { host, port, names: { host: 'HOST', port: 'PORT' } }),
    /**
     * Accepts no more connections, announces on each open one that its next answer is the last, and resolves
     * when the requests in flight are answered, or after `graceMs`. Announced any earlier, a proxy would make
     * a connection for each request, and those not yet accepted are lost when the listener closes.
     */
    async close(graceMs: number) {
      closing = true
      for (const connection of connections.values()) connection.endWithNextAnswer()
      const idleUntil = Date.now() + idleGraceMs
      const idle = setInterval(() => Date.now() >= idleUntil && closeIdle(), 50)
      const all = setTimeout(() => server.closeAllConnections(), graceMs)
      // Accepts waiting connections first: they would be reset.
      await afterReading()
      // node:http's own close would close idle connections at once.
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
    // HTTP/0.9 has no headers in requests and responses.
    if (incoming.httpVersionMajor < 1) return answerRaw(incoming.socket, { status: 400 })
    const refusal = normalizeRequest(incoming)
    if (refusal) refuse(outgoing, refusal)
    else if (incoming.url === '*')
      outgoing.writeHead(204, { Allow: methods, 'X-Request-Id': crypto.randomUUID() }).end()
    else answer(incoming, outgoing)
  }
}

/** Sends 100 Continue when the app begins to read the body, and never if it refuses before. */
function continueOnRead(answer: Answer): Answer {
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

/** For a request that node:http accepts and that makes no URL. */
function answerMalformed(error: unknown): Response {
  if (!(error instanceof RequestError)) throw error
  const { body, headers } = malformedRequest(400)
  return new Response(body, { status: 400, headers: { ...headers, Connection: 'close' } })
}

/** Warns at most once a minute. */
function createWarning({ maxConnections, log }: Pick<Options, 'maxConnections' | 'log'>) {
  let warnedAt = 0
  return () => {
    if (Date.now() - warnedAt < warnEveryMs) return
    warnedAt = Date.now()
    log.warn('connections are rejected: MAX_CONNECTIONS are open', { connections: maxConnections })
  }
}
