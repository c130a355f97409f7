/** Serves the API in one process on Node: opens the app's dependencies, then starts its server. */
import { fileURLToPath } from 'node:url'
import { getConnInfo } from '@hono/node-server/conninfo'
import { createApp } from '../app.ts'
import { createTokens } from '../auth/tokens.ts'
import type { Config } from '../config/api.ts'
import { errorFields, type Logger } from '../core/log.ts'
import { settleWithin } from '../core/timeout.ts'
import type { Deps } from '../http/deps.ts'
import { createLambdaClient } from '../outbox/lambda-client.ts'
import { createDelivery, startRelay } from '../outbox/relay.ts'
import { watchStoppedChannels } from '../outbox/stopped-channels.ts'
import { invocationTimeoutMs } from '../outbox/timing.ts'
import { outboxWatch } from '../outbox/watch.ts'
import { type Database, DatabaseUnavailableError } from '../ports/database.ts'
import { measureCache, measureLimiter, noMetrics } from '../ports/metrics.ts'
import { connectionLimit } from './http/descriptors.ts'
import { serveReferencePage } from './http/reference-page.ts'
import { listen } from './http/server.ts'
import { maintain } from './maintenance.ts'
import type { Prometheus } from './metrics/prometheus.ts'
import { openCredentials } from './notifier/aws-credentials.ts'
import { createNodeHasher } from './passwords/password-hasher.ts'
import { connectDatabase } from './postgres/service-database.ts'
import type { Stack } from './process/shutdown.ts'
import type { SharedServices } from './shared-services.ts'
import { subscribeToInvalidations } from './store/invalidation-notices.ts'
import { openStore } from './store/open-store.ts'

/** At shutdown requests get this long to finish, then the relay to deliver the latest events. */
const graceMs = { requests: 5000, relay: 2000 }
const maintainEveryMs = 3_600_000

type Serving = {
  config: Config
  services: SharedServices
  /** One process of the service also runs the maintenance and measures the outbox. */
  isLeader: boolean
  prometheus: Prometheus | undefined
  log: Logger
  stack: Stack
}

/** Resolves with the port when requests are answered. @throws StartError */
export async function serve({ config, services, isLeader, prometheus, log, stack }: Serving) {
  const maxConnections = connectionLimit(config)
  const metrics = prometheus?.metrics ?? noMetrics
  const { limiter, cache, isStoreThere, clearCache } = await openStore(config, log, stack)
  const db = connectDatabase(config, services.database, stack)
  if (clearCache && typeof services.database !== 'string')
    await subscribeToInvalidations(services.database, { invalidate: cache.invalidate, clearCache }, stack)
  const stoppedChannels = watchStoppedChannels(log)
  const { invoke } = createLambdaClient({
    ...config.notifier,
    endpoint: services.notifier.endpoint,
    credentials: openCredentials(services.notifier.credentials),
    timeoutMs: invocationTimeoutMs,
    onReturn: stoppedChannels.observe,
  })
  const relay = startRelay(createDelivery({ db, invoke, log, metrics }), log)
  stack.push('relay', () => settleWithin(graceMs.relay, relay.stop()))
  if (isLeader) scheduleMaintenance(db, log, stack)

  const { bcryptCost: cost, webConcurrency: processes } = config
  const passwords = await createNodeHasher({ cost, processes, log })
  prometheus?.watch({
    pool: db.load,
    hashing: passwords.load,
    stoppedChannels: stoppedChannels.count,
    ...(isLeader ? { outbox: outboxWatch(db, log) } : {}),
  })
  let stopping = false
  const deps: Deps = {
    config,
    db,
    ...(await createTokens(services.jwtSecrets, config.tokens)),
    passwords,
    limiter: prometheus ? measureLimiter(limiter, metrics) : limiter,
    cache: prometheus ? measureCache(cache, metrics) : cache,
    isStoreThere,
    isStopping: () => stopping,
    now: Date.now,
    log,
    metrics,
    background: (work) => void work,
    eventRecorded: relay.wake,
  }
  const app = createApp({
    provide: () => deps,
    connectionAddress: (c) => getConnInfo(c).remote.address,
    proxiesAreNear: true,
    referencePage: serveReferencePage(fileURLToPath(new URL('public', import.meta.url))),
    corsOrigins: config.corsOrigins,
    publicUrl: config.publicUrl,
  })
  stack.onStopping(() => {
    stopping = true
  })
  const server = await listen(app.fetch, { ...config, maxConnections, log })
  stack.push('server', () => server.close(graceMs.requests))
  return server.port
}

function scheduleMaintenance(db: Database, log: Logger, stack: Stack) {
  const ending = new AbortController()
  const maintainNow = () =>
    maintain(db, ending.signal).catch((error) => {
      // The start and /readyz report it already.
      const isUnmigrated = error instanceof DatabaseUnavailableError && error.reason === 'unmigrated'
      if (!isUnmigrated) log.warn('the database maintenance failed', errorFields(error))
    })
  maintainNow()
  const timer = setInterval(maintainNow, maintainEveryMs)
  stack.push('maintenance', async () => {
    clearInterval(timer)
    ending.abort()
  })
}
