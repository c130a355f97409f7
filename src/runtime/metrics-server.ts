/** GET /metrics, on an address of its own, so that it can stay out of the public's sight. */
import { createServer, type IncomingMessage } from 'node:http'
import type { Config } from '../config.ts'
import { errorFields, type Logger } from '../log.ts'
import { listenOn } from './listen.ts'
import { contentType } from './prometheus.ts'
import type { Stack } from './shutdown.ts'

type Options = {
  /** In Prometheus's text format. */
  collect: () => Promise<string>
  address: NonNullable<Config['metrics']>
  log: Logger
  stack: Stack
}

/** @throws StartError when the address cannot be had */
export async function serveMetrics({ collect, address: { host, port }, log, stack }: Options): Promise<void> {
  const server = createServer(async (incoming, outgoing) => {
    const { status, text } = await answer(incoming)
    const type = status === 200 ? contentType : 'text/plain; charset=utf-8'
    const allow = status === 405 ? { Allow: 'GET, HEAD' } : {}
    outgoing.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store', ...allow }).end(text)
  })

  async function answer({ url, method }: IncomingMessage) {
    if (url?.split('?')[0] !== '/metrics') return { status: 404, text: 'See /metrics.\n' }
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'Only GET is possible here.\n' }
    try {
      return { status: 200, text: await collect() }
    } catch (error) {
      log.warn('the metrics could not be collected', errorFields(error))
      return { status: 500, text: 'The metrics could not be collected; the log says why.\n' }
    }
  }

  const names = { host: 'METRICS_HOST', port: 'METRICS_PORT' }
  const listening = await listenOn(server, { host, port, names })
  stack.push('metrics', async () => {
    server.close()
    server.closeAllConnections()
  })
  log.info('metrics', { url: `http://${host.includes(':') ? `[${host}]` : host}:${listening}/metrics` })
}
