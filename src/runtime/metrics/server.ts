/** GET /metrics and /healthz, on an address of their own, which need not be public. */
import { createServer, type IncomingMessage } from 'node:http'
import type { Config } from '../../config/api.ts'
import { httpOrigin } from '../../core/host.ts'
import { errorFields, type Logger } from '../../core/log.ts'
import { listenOn, shortRequests } from '../http/listen.ts'
import type { Stack } from '../process/shutdown.ts'
import { contentType } from './prometheus.ts'

type Answer = { status: number; text: string; type?: string }

type Options = {
  /** In Prometheus's text format. */
  collect: () => Promise<string>
  address: NonNullable<Config['metrics']>
  log: Logger
  stack: Stack
}

/** More than Prometheus and health probes open. */
const maxConnections = 100

/** @throws StartError when the address cannot be used */
export async function serveMetrics({ collect, address: { host, port }, log, stack }: Options): Promise<void> {
  const server = createServer(shortRequests, async (incoming, outgoing) => {
    const { status, text, type = 'text/plain; charset=utf-8' } = await answer(incoming)
    const allow = status === 405 ? { Allow: 'GET, HEAD' } : {}
    outgoing.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store', ...allow }).end(text)
  })
  server.maxConnections = maxConnections

  async function answer({ url, method }: IncomingMessage): Promise<Answer> {
    const path = url?.split('?')[0]
    if (path !== '/metrics' && path !== '/healthz')
      return { status: 404, text: 'See /metrics and /healthz.\n' }
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'Only GET is possible here.\n' }
    if (path === '/healthz') return { status: 200, text: '{"status":"alive"}', type: 'application/json' }
    try {
      return { status: 200, text: await collect(), type: contentType }
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
  log.info('metrics', { url: `${httpOrigin(host, listening)}/metrics` })
}
