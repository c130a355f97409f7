/** Entry of the notifier as a process: the handler in the simulated Lambda service. */
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import { getRequestListener } from '@hono/node-server'
import postgres from 'postgres'
import { createLogger, type Logger } from '../../src/core/log.ts'
import { StartError } from '../../src/core/start-error.ts'
import { throttledForMs } from '../../src/outbox/throttling.ts'
import { functionTimeoutMs, leaseMs } from '../../src/outbox/timing.ts'
import { descriptorLimit } from '../../src/runtime/http/descriptors.ts'
import { listenOn, shortRequests } from '../../src/runtime/http/listen.ts'
import type { Connect } from '../../src/runtime/postgres/connections.ts'
import { readDatabaseUrl } from '../../src/runtime/postgres/database-url.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { logOnOutput } from '../../src/runtime/process/output.ts'
import { stopSignals } from '../../src/runtime/process/shutdown.ts'
import { createDestination } from '../lambda/destination.ts'
import { startEventQueue } from '../lambda/event-queue.ts'
import { createExecution, type Execution } from '../lambda/execution.ts'
import { createInvokeApi } from '../lambda/invoke-api.ts'
import { installLogCapture } from '../lambda/log-capture.ts'
import { openChannels } from './channels.ts'
import { emailChannels } from './email.ts'
import { createHandler, describeChannels } from './handler.ts'
import { readProcessSettings } from './process-settings.ts'

/** Connections of the queue, and a statement's deadline in ms: an Event's caller waits for it. */
const databasePoolSize = 5
const databaseTimeoutMs = 5_000
/** Connections besides those of invocations: idle ones, and those of throttled callers. */
const spareConnections = 400

async function main() {
  logOnOutput()
  installLogCapture()
  const settings = readProcessSettings(withArguments(process.env))
  const log = createLogger(settings.LOG_LEVEL)
  const channels = openChannels(settings.notifications, { email: emailChannels })
  const execution = createExecution({
    load: () => createHandler({ channels }),
    functionName: settings.NOTIFIER_FUNCTION,
    concurrency: settings.NOTIFIER_CONCURRENCY,
    timeoutMs: functionTimeoutMs,
    log,
  })
  const queue = openQueue(settings, execution, log)
  const app = createInvokeApi({
    execution,
    queue,
    queueAdvice: 'set NOTIFIER_DATABASE_URL',
    state: () => describeChannels(channels),
    credentials: { accessKeyId: settings.AWS_ACCESS_KEY_ID, secretAccessKey: settings.AWS_SECRET_ACCESS_KEY },
    region: settings.AWS_REGION,
    log,
  })
  const server = createServer(shortRequests, getRequestListener(app.fetch))
  // Each connection may have a body of 6 MB in transit. One more is closed at once, and its caller retries.
  server.maxConnections = Math.min(settings.NOTIFIER_CONCURRENCY + spareConnections, descriptorLimit() / 2)
  const { NOTIFIER_HOST: host, NOTIFIER_PORT: port } = settings
  const names = { host: 'NOTIFIER_HOST', port: 'NOTIFIER_PORT' }
  const listening = await listenOn(server, { host, port, names })
  log.info('notifier listening', { host, port: listening, function: settings.NOTIFIER_FUNCTION })

  let stopping = false
  function stop(reason: string) {
    if (stopping) return
    stopping = true
    log.info('notifier stopping', { reason })
    // Waits for requests in flight. Closes connections that become idle.
    const closed = new Promise((resolve) => server.close(resolve))
    Promise.all([closed, queue?.stop()]).finally(() => process.exit(0))
    setInterval(() => server.closeIdleConnections(), 50).unref()
    setTimeout(() => process.exit(0), functionTimeoutMs + 1_000).unref()
  }
  for (const signal of stopSignals) process.on(signal, () => stop(signal))
  if (process.env.NOTIFIER_PARENT_PIPE === '1') {
    // The parent holds the other end of the pipe and writes nothing: the pipe closes when the parent dies.
    process.stdin
      .on('close', () => stop('parent gone'))
      .on('error', () => stop('parent gone'))
      .resume()
  }
}

/** `--concurrency 5` is NOTIFIER_CONCURRENCY=5. */
function withArguments(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  try {
    const { values } = parseArgs({ options: { concurrency: { type: 'string' } } })
    return values.concurrency ? { ...environment, NOTIFIER_CONCURRENCY: values.concurrency } : environment
  } catch (error) {
    throw new StartError(error instanceof Error ? error.message : String(error))
  }
}

/** While the database is away, at the start or later, Events are answered 500, which callers retry. */
function openQueue(settings: ReturnType<typeof readProcessSettings>, execution: Execution, log: Logger) {
  const { NOTIFIER_DATABASE_URL: databaseUrl } = settings
  if (!databaseUrl) return undefined
  const { DATABASE_CA: databaseCa } = process.env
  const { options } = readDatabaseUrl({ databaseUrl, databaseCa, setting: 'NOTIFIER_DATABASE_URL' })
  // Unnamed statements work behind any pooler.
  const connect: Connect = (own) => postgres({ ...valueOptions, ...options, ...own, prepare: false })
  return startEventQueue({
    db: createDatabase(connect, { poolSize: databasePoolSize, timeoutMs: databaseTimeoutMs }),
    execution,
    retryDelaysMs: settings.NOTIFIER_RETRY_DELAYS,
    maximumAgeMs: settings.NOTIFIER_MAXIMUM_EVENT_AGE,
    leaseMs,
    pauseFor: throttledForMs,
    destination: settings.NOTIFIER_ON_FAILURE ? createDestination(settings.NOTIFIER_ON_FAILURE) : undefined,
    log,
  })
}

main().catch((error: unknown) => {
  console.error(error instanceof StartError ? error.message : error)
  process.exitCode = 1
})
