/** Answers to requests that never reach the app. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { Problem, type ProblemStatus, problemMediaType } from '../../core/problem.ts'

const notHttp = 'This is not an HTTP request that can be answered.'

/** It has no request id yet, so it gets one. */
export function malformedRequest(status: ProblemStatus, detail = notHttp) {
  const requestId = crypto.randomUUID()
  const body = JSON.stringify({ ...new Problem(status, detail).toJSON(), request_id: requestId })
  return { body, headers: { 'Content-Type': problemMediaType, 'X-Request-Id': requestId } }
}

/** Where the next request on the connection begins is not sure after one that could not be read. */
const lastAnswer = { Connection: 'close' }

export type Refusal = { status: ProblemStatus; detail?: string; headers?: Record<string, string> }

export function refuse(outgoing: ServerResponse, { status, detail, headers: more }: Refusal) {
  const { body, headers } = malformedRequest(status, detail)
  outgoing.writeHead(status, { ...headers, ...more, ...lastAnswer }).end(body)
}

/** For node:http's error: by its code, and where one code is for several errors by its reason. */
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

/** A client has this long to read the answer and close; closing at once could lose it what it has not read yet. */
const lingerMs = 2000

/** Where there is no response to write it to: node:http would answer with an empty body. */
export function answerRaw(socket: Socket, { status, detail, headers: more }: Refusal): void {
  // Further bytes after a refusal are refused again; whoever ended the socket also destroys it.
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
