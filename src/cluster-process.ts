/**
 * Entry of an API process in a cluster (WEB_CONCURRENCY). node.ts, the primary, sends the shared services.
 */
import { readConfig } from './config/api.ts'
import { createLogger } from './core/log.ts'
import { runClusterWorker } from './runtime/cluster/process.ts'
import { surviveLostWrites } from './runtime/postgres/driver.ts'
import { logOnOutput } from './runtime/process/output.ts'
import { createStack } from './runtime/process/shutdown.ts'
import { serve } from './runtime/serve.ts'

const print = logOnOutput()
const config = readConfig(process.env)
const log = createLogger(config.logLevel, print, { pid: process.pid })
surviveLostWrites(log)
const stack = createStack(log)
runClusterWorker({
  log,
  stack,
  hasMetrics: config.metrics !== null,
  shutdownDelayMs: config.shutdownDelayMs,
  serve: ({ services, workerIndex }, prometheus) =>
    serve({ config, services, isLeader: workerIndex === 1, prometheus, log, stack }),
})
