/** Entry of the notifier as a process of its own: the Lambda handler behind AWS Lambda's Invoke API. */
import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { functionTimeoutMs } from '../../src/events/timing.ts'
import { createLogger } from '../../src/log.ts'
import { listenOn } from '../../src/runtime/listen.ts'
import { StartError } from '../../src/start-error.ts'
import { createHandler } from './handler.ts'
import { createInvokeApi } from './invoke-api.ts'
import { readNotifierSettings } from './settings.ts'

async function main() {
  const settings = readNotifierSettings(process.env)
  const log = createLogger(settings.LOG_LEVEL)
  const app = createInvokeApi({
    handler: createHandler({ webhookUrl: settings.NOTIFY_WEBHOOK_URL }),
    functionName: settings.NOTIFIER_FUNCTION,
    credentials: { accessKeyId: settings.AWS_ACCESS_KEY_ID, secretAccessKey: settings.AWS_SECRET_ACCESS_KEY },
    region: settings.AWS_REGION,
    timeoutMs: functionTimeoutMs,
    log,
  })
  const server = createServer({ requestTimeout: 30_000 }, getRequestListener(app.fetch))
  const { NOTIFIER_HOST: host, NOTIFIER_PORT: port } = settings
  const names = { host: 'NOTIFIER_HOST', port: 'NOTIFIER_PORT' }
  const listening = await listenOn(server, { host, port, names })
  log.info('notifier listening', { host, port: listening, function: settings.NOTIFIER_FUNCTION })

  let stopping = false
  function stop(reason: string) {
    if (stopping) return
    stopping = true
    log.info('notifier stopping', { reason })
    // Waits for what is in flight, not for connections that are only kept open, as they are after a last answer.
    server.close(() => process.exit(0))
    setInterval(() => server.closeIdleConnections(), 50).unref()
    setTimeout(() => process.exit(0), functionTimeoutMs + 1_000).unref()
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop(signal))
  if (process.env.NOTIFIER_PARENT_PIPE === '1') {
    // The parent holds the other end and writes nothing: the end of it means that the parent is gone, however it died.
    process.stdin
      .on('close', () => stop('parent gone'))
      .on('error', () => stop('parent gone'))
      .resume()
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof StartError ? error.message : error)
  process.exitCode = 1
})
