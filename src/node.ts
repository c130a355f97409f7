/** Entry on Node: settings, then what the API stands on, then the API, in this process or in several; and all of it down again in reverse. */
import { fileURLToPath } from 'node:url'
import { type Config, readConfig } from './config.ts'
import { createLogger, type Logger } from './log.ts'
import { serve } from './node-service.ts'
import { openBacking } from './runtime/backing.ts'
import { startWorkers } from './runtime/concurrency/primary.ts'
import { surviveLostWrites } from './runtime/lost-write.ts'
import { serveMetrics } from './runtime/metrics-server.ts'
import { createPrometheus, format } from './runtime/prometheus.ts'
import { createStack, type Stack, stopOnSignals } from './runtime/shutdown.ts'
import { StartError } from './start-error.ts'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

async function start(config: Config, log: Logger, stack: Stack) {
  const notifierEntry = file('notifier.js')
  const backing = await openBacking({ config, packageRoot, notifierEntry, log, stack })
  const { host, webConcurrency: count, metrics } = config
  const prometheus = metrics ? await createPrometheus(count === 1 ? '1' : 'primary') : undefined
  const { port, collect } =
    count === 1
      ? await serveAlone({ config, backing, chores: true, prometheus, log, stack })
      : await startWorkers({ entry: file('api-worker.js'), count, backing, prometheus, log, stack })
  if (metrics)
    await serveMetrics({ collect: async () => format(await collect()), address: metrics, log, stack })
  log.info('listening', {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    ...(count === 1 ? {} : { processes: count }),
  })
}

async function serveAlone(options: Parameters<typeof serve>[0]) {
  const port = await serve(options)
  return { port, collect: async () => [(await options.prometheus?.snapshot()) ?? []] }
}

async function main() {
  // Whoever read the log may be gone (npm start | head); the service goes on.
  process.stdout.on('error', () => {})
  const config = readConfig(process.env)
  const log = createLogger(config.logLevel)
  surviveLostWrites(log)
  const stack = createStack(log)
  const isStopping = stopOnSignals(stack, log)
  try {
    await start(config, log, stack)
  } catch (error) {
    await stack.unwind()
    // The signal's own exit follows.
    if (!isStopping()) throw error
  }
}

main().catch((error: unknown) => {
  console.error(error instanceof StartError ? error.message : error)
  process.exit(1)
})
