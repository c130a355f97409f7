/** The app on node:http. */
import { createServer, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import { Problem, type ProblemStatus, problemMediaType } from '../problem.ts'
import { listenOn } from './listen.ts'

export type HttpServer = {
  port: number
  /** Takes no more connections and resolves when every request under way has been answered, or after `graceMs`. */
  close(graceMs: number): Promise<void>
}

type Fetch = Parameters<typeof getRequestListener>[0]

/** @throws StartError when the address cannot be had */
export async function listen(fetch: Fetch, address: { host: string; port: number }): Promise<HttpServer> {
  const server = createServer(
    // A client has this long to send its headers, and its whole request; then the connection is closed.
    { headersTimeout: 20_000, requestTimeout: 60_000, keepAliveTimeout: 65_000 },
    getRequestListener(fetch, { errorHandler: answerBadRequest }),
  )
  server.on('clientError', answerClientError)
  return {
    port: await listenOn(server, { ...address, names: { host: 'HOST', port: 'PORT' } }),
    close: (graceMs) =>
      new Promise((resolve) => {
        const timer = setTimeout(() => server.closeAllConnections(), graceMs)
        server.close(() => {
          clearTimeout(timer)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

const badRequest = () => JSON.stringify(new Problem(400, 'This is not an HTTP request that can be read.'))

/** For a request that node:http could read but that makes no URL, such as one with a broken Host header. */
function answerBadRequest(error: unknown): Response {
  if (!(error instanceof RequestError)) throw error
  return new Response(badRequest(), { status: 400, headers: { 'Content-Type': problemMediaType } })
}

/** For what node:http cannot read as a request: without this it would answer with an empty body. */
function answerClientError(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const statuses: Record<string, ProblemStatus> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 }
  const status = statuses[error.code ?? ''] ?? 400
  const body = JSON.stringify(new Problem(status, 'This is not an HTTP request that can be read.'))
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    `Content-Type: ${problemMediaType}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${crypto.randomUUID()}`,
    'Connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
