/** An HTTP server that receives webhooks. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { listenOnLoopback } from './ports.ts'

type Answer = (response: ServerResponse) => void | Promise<void>

/**
 * Keeps every request with its time (ms since the epoch). `answerWith` changes the answer, which is 200 at
 * first.
 */
export async function startWebhookReceiver() {
  const received: {
    method: string
    url: string
    headers: IncomingHttpHeaders
    contentType: string | undefined
    body: string
    at: number
  }[] = []
  let answer: Answer = (response) => void response.writeHead(200).end('ok')
  const server = createServer(async (request, response) => {
    const body = await text(request)
    received.push({
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      contentType: request.headers['content-type'],
      body,
      at: Date.now(),
    })
    await answer(response)
  })
  const port = await listenOnLoopback(server)
  return {
    url: `http://127.0.0.1:${port}/hook`,
    received,
    answerWith(next: Answer) {
      answer = next
    },
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    },
  }
}
