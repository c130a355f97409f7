/** Answers for requests that never reach the app. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Problem, type ProblemStatus, problemMediaType } from '../../core/problem.ts'

const notHttp = 'This is not an HTTP request that can be answered.'

/** Body and headers of a problem document with a request id of its own. */
export function malformedRequest(status: ProblemStatus, detail = notHttp) {
  const requestId = crypto.randomUUID()
  const body = JSON.stringify({ ...new Problem(status, detail).toJSON(), request_id: requestId })
  return { body, headers: { 'Content-Type': problemMediaType, 'X-Request-Id': requestId } }
}

/** After a malformed request nobody knows where the next one on the connection begins. */
const lastAnswer = { Connection: 'close' }

export type Refusal = { status: ProblemStatus; detail?: string; headers?: Record<string, string> }

export function refuse(outgoing: ServerResponse, { status, detail, headers: more }: Refusal) {
  const { body, headers } = malformedRequest(status, detail)
  outgoing.writeHead(status, { ...headers, ...more, ...lastAnswer }).end(body)
}

/** Maps an error of node:http by its code, or by its reason where several errors share a code. */
export function refusalOf({ code = '', reason }: NodeJS.ErrnoException & { reason?: string }): Refusal {
  if (reason === 'Request has invalid `Transfer-Encoding`') return otherCoding
  return refusals[code] ?? { status: 400 }
}

export const otherCoding: Refusal = {
  status: 501,
  detail: 'The only transfer coding that is taken is chunked.',
}

const refusals: Record<string, Refusal> = {
  HPE_HEADER_OVERFLOW: { status: 431 },
  ERR_HTTP_REQUEST_TIMEOUT: { status: 408, detail: 'The request did not arrive whole in time.' },
  HPE_INVALID_URL: {
    status: 400,
    detail:
      'The request line has a character that a URL cannot have; percent-encode it as UTF-8, as in %C3%A9.',
  },
}

/** Time for a client to read the answer and close. Closing at once could lose the unread part. */
const lingerMs = 2000

/** Writes to a socket without a response object. node:http would answer with an empty body. */
export function answerRaw(socket: Socket, { status, detail, headers: more }: Refusal): void {
  // Bytes after a refusal are refused again. The first refusal destroys the socket.
  if (socket.writableEnded) return
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const { body, headers } = malformedRequest(status, detail)
  const length = { 'Content-Length': Buffer.byteLength(body) }
  const lines = Object.entries({ ...headers, ...more, ...lastAnswer, ...length })
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    ...lines.map(([name, value]) => `${name}: ${value}`),
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  setTimeout(() => socket.destroy(), lingerMs).unref()
}
