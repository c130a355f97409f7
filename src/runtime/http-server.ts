/** The app on node:http. */
import { createServer, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { ProblemStatus } from '../problem.ts'
import { listenOn } from './listen.ts'
import { unreadable } from './unreadable.ts'

export type HttpServer = {
  port: number
  /** Takes no more connections and resolves when every request under way has been answered, or after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** Where the next request on the connection begins is not sure after one that could not be read. */
const lastAnswer = { Connection: 'close' }

type Fetch = Parameters<typeof getRequestListener>[0]

/** A client has this long to send its headers, and its whole request; an idle connection is closed after the last. */
const timeouts = {
  headersTimeout: 20_000,
  requestTimeout: 60_000,
  keepAliveTimeout: 65_000,
  connectionsCheckingInterval: 5000,
}

/** @throws StartError when the address cannot be had */
export async function listen(fetch: Fetch, address: { host: string; port: number }): Promise<HttpServer> {
  // HTTP/1.0 needs no Host; the app never looks at it.
  const answer = getRequestListener(fetch, { errorHandler: answerUnreadable, hostname: 'localhost' })
  const answering = new WeakMap<Socket, ServerResponse>()
  const open = new Set<ServerResponse>()
  let closing = false
  // The listener checks the Host itself: node:http would answer without a body, and let two of them pass.
  const server = createServer({ ...timeouts, requireHostHeader: false }, (incoming, outgoing) => {
    answering.set(incoming.socket, outgoing)
    open.add(outgoing)
    outgoing.once('close', () => open.delete(outgoing))
    if (closing) outgoing.shouldKeepAlive = false
    if (incoming.httpVersionMajor < 1) answerClientError(incoming.socket)
    else if (hasOneHost(incoming)) answer(incoming, outgoing)
    else refuse(outgoing, 400)
  })
  // Their total size is bounded; their number would be bounded by leaving the last ones out, without a word.
  server.maxHeadersCount = 0
  server.on('checkExpectation', (_, outgoing: ServerResponse) => refuse(outgoing, 417))
  server.on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    const pending = answering.get(socket)
    if (!pending || pending.writableFinished) answerClientError(socket, error.code)
    // What cannot be read came behind a request that could: that is answered first.
    else if (pending.req.complete) pending.once('finish', () => answerClientError(socket, error.code))
    // It was the body of the request under way: an answer that has begun cannot be taken back.
    else if (pending.headersSent) socket.destroy()
    else answerClientError(socket, error.code)
  })
  return {
    port: await listenOn(server, { ...address, names: { host: 'HOST', port: 'PORT' } }),
    close: (graceMs) =>
      new Promise((resolve) => {
        closing = true
        // A client that is answered is told to come again on another connection, to another process perhaps.
        for (const outgoing of open) outgoing.shouldKeepAlive = false
        const timer = setTimeout(() => server.closeAllConnections(), graceMs)
        const idle = setInterval(() => server.closeIdleConnections(), 50)
        server.close(() => {
          clearTimeout(timer)
          clearInterval(idle)
          resolve()
        })
      }),
  }
}

/** RFC 9112 section 3.2: none or several are a 400, none being right for HTTP/1.0. */
function hasOneHost({ rawHeaders, httpVersion }: IncomingMessage): boolean {
  const hosts = rawHeaders.filter((name, index) => index % 2 === 0 && name.toLowerCase() === 'host').length
  return hosts === 1 || (hosts === 0 && httpVersion === '1.0')
}

/** For a request that node:http could read but that makes no URL. */
function answerUnreadable(error: unknown): Response {
  if (!(error instanceof RequestError)) throw error
  const { body, headers } = unreadable(400)
  return new Response(body, { status: 400, headers: { ...headers, ...lastAnswer } })
}

function refuse(outgoing: ServerResponse, status: ProblemStatus) {
  const { body, headers } = unreadable(status)
  outgoing.writeHead(status, { ...headers, ...lastAnswer }).end(body)
}

/** For what node:http cannot read as a request: it would answer with an empty body. */
function answerClientError(socket: Socket, code = ''): void {
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const statuses: Record<string, ProblemStatus> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }
  const status = statuses[code] ?? 400
  const { body, headers } = unreadable(status)
  const lines = Object.entries({ ...headers, ...lastAnswer, 'Content-Length': Buffer.byteLength(body) })
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
