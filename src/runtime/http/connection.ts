/** One client connection: its requests are answered one after the other. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { answerRaw, type Refusal } from './malformed-request.ts'

export type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => void
type Exchange = { incoming: IncomingMessage; outgoing: ServerResponse; answer: Answer }

export type Connection = ReturnType<typeof openConnection>

/** Requests that may wait behind the one being answered; a client that pipelines more is cut off. */
const mostWaiting = 100

/**
 * When a client leaves, node:http tells only the response that is being sent, so an answer begun behind it would keep
 * its files and its memory for good. Here a request that waits has not begun, and holds nothing.
 */
export function openConnection(socket: Socket) {
  let current: ServerResponse | undefined
  let waiting: Exchange[] = []
  /** For bytes that are no request: they are answered once the requests before them are. */
  let unreadable: Refusal | undefined
  let isLast = false

  function begin({ incoming, outgoing, answer }: Exchange) {
    current = outgoing
    if (isLast && waiting.length === 0) outgoing.shouldKeepAlive = false
    outgoing.once('close', next)
    answer(incoming, outgoing)
  }

  function next() {
    current = undefined
    if (socket.destroyed || socket.writableEnded) waiting = []
    const exchange = waiting.shift()
    if (exchange) begin(exchange)
    else if (unreadable) answerRaw(socket, unreadable)
  }

  socket.once('close', () => {
    waiting = []
  })

  return {
    take(exchange: Exchange) {
      if (!current) begin(exchange)
      else if (waiting.length < mostWaiting) waiting.push(exchange)
      else socket.destroy()
    },
    /** For bytes that node:http cannot read, as a request or as the rest of one. */
    fail(refusal: Refusal) {
      const newest = waiting.at(-1)
      if (newest && !newest.incoming.complete) waiting.pop()
      else if (current && !newest && !current.req.complete) {
        // An answer that has begun cannot be taken back.
        if (current.headersSent) socket.destroy()
        else answerRaw(socket, refusal)
        return
      }
      if (current) unreadable = refusal
      else answerRaw(socket, refusal)
    },
    /** After CONNECT node:http no longer looks after the connection, so one with answers to come is closed. */
    refuseTunnel(refusal: Refusal) {
      socket.on('error', () => socket.destroy())
      socket.resume()
      if (current) socket.destroy()
      else answerRaw(socket, refusal)
    },
    /** The last request that has arrived, or else the next one, is answered with `Connection: close`. */
    endWithNextAnswer() {
      isLast = true
      if (current && waiting.length === 0) current.shouldKeepAlive = false
    },
    /** Closes it if nothing of it has ever been read; node:http counts such a connection as busy. */
    closeIfUnused() {
      if (socket.bytesRead === 0) socket.destroy()
    },
  }
}
