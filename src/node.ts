/** Entry on Node: starts the shared services, and serves in one or more processes. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from './config/api.ts'
import { httpOrigin } from './core/host.ts'
import type { Logger } from './core/log.ts'
import { startCluster } from './runtime/cluster/primary.ts'
import { createPrometheus, format } from './runtime/metrics/prometheus.ts'
import { serveMetrics } from './runtime/metrics/server.ts'
import { loadNativeBcrypt } from './runtime/passwords/password-hasher.ts'
import { surviveLostWrites } from './runtime/postgres/driver.ts'
import { runProgram } from './runtime/process/program.ts'
import type { Stack } from './runtime/process/shutdown.ts'
import { serve } from './runtime/serve.ts'
import { openSharedServices } from './runtime/shared-services.ts'
import { runStartChecks } from './runtime/start-checks.ts'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

async function start(config: Config, log: Logger, stack: Stack) {
  surviveLostWrites(log)
  const context = { config, dataDirectory: resolve(config.dataDirectory), packageRoot, log }
  await runStartChecks(context)
  // Loads while the notifier starts.
  if (config.webConcurrency === 1) loadNativeBcrypt().catch(() => {})
  const services = await openSharedServices({ ...context, notifierEntry: file('notifier.js'), stack })
  const { host, webConcurrency: count, metrics } = config
  const prometheus = metrics ? await createPrometheus(count === 1 ? '1' : 'primary') : undefined
  const { port, collect } =
    count === 1
      ? await serveAlone({ config, services, isLeader: true, prometheus, log, stack })
      : await startCluster({ entry: file('cluster-process.js'), count, services, prometheus, log, stack })
  if (metrics)
    await serveMetrics({ collect: async () => format(await collect()), address: metrics, log, stack })
  log.info('listening', { url: httpOrigin(host, port), ...(count === 1 ? {} : { processes: count }) })
  return {}
}

async function serveAlone(options: Parameters<typeof serve>[0]) {
  const port = await serve(options)
  return { port, collect: async () => [(await options.prometheus?.snapshot()) ?? []] }
}

runProgram(start)
