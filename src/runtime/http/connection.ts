/** One client connection, whose requests are answered in sequence. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answerRaw, type Refusal } from './malformed-request.ts'

export type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => void
type Exchange = { incoming: IncomingMessage; outgoing: ServerResponse; answer: Answer }

export type Connection = ReturnType<typeof openConnection>

/** Pipelined requests behind the one being answered. A client that sends more is cut off. */
const pipelineLimit = 100

/**
 * When a client leaves, node:http closes only the response that is being sent. A response started behind it
 * would hold its files and memory for good, so a waiting request is not started here.
 */
export function openConnection(socket: Socket) {
  let current: ServerResponse | undefined
  let waiting: Exchange[] = []
  /** Answers malformed bytes, after the requests before them. */
  let malformed: Refusal | undefined
  let isLast = false

  function begin({ incoming, outgoing, answer }: Exchange) {
    current = outgoing
    if (isLast && waiting.length === 0) outgoing.shouldKeepAlive = false
    // Emitted once.
    outgoing.on('close', next)
    answer(incoming, outgoing)
  }

  function next() {
    current = undefined
    if (socket.destroyed || socket.writableEnded) waiting = []
    const exchange = waiting.shift()
    if (exchange) begin(exchange)
    else if (malformed) answerRaw(socket, malformed)
  }

  socket.once('close', () => {
    waiting = []
  })

  return {
    take(exchange: Exchange) {
      if (!current) begin(exchange)
      else if (waiting.length < pipelineLimit) waiting.push(exchange)
      else socket.destroy()
    },
    /** For bytes that node:http cannot parse, as a request or as the rest of one. */
    fail(refusal: Refusal) {
      const newest = waiting.at(-1)
      if (newest && !newest.incoming.complete) waiting.pop()
      else if (current && !newest && !current.req.complete) {
        // A response that has begun cannot be replaced.
        if (current.headersSent) socket.destroy()
        else answerRaw(socket, refusal)
        return
      }
      if (current) malformed = refusal
      else answerRaw(socket, refusal)
    },
    /** After CONNECT node:http no longer manages the connection: one with pending responses is closed. */
    refuseTunnel(refusal: Refusal) {
      socket.on('error', () => socket.destroy())
      socket.resume()
      if (current) socket.destroy()
      else answerRaw(socket, refusal)
    },
    /** Answers the last request that has arrived, or else the next one, with `Connection: close`. */
    endWithNextAnswer() {
      isLast = true
      if (current && waiting.length === 0) current.shouldKeepAlive = false
    },
    /** Closes a connection on which no byte was ever read. node:http counts it as busy. */
    closeIfUnused() {
      if (socket.bytesRead === 0) socket.destroy()
    },
  }
}
