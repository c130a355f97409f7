/** Entry on Node: settings, then what the app depends on, then the app; and all of it down again in reverse. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { getConnInfo } from '@hono/node-server/conninfo'
import { createTokens } from './accounts/tokens.ts'
import { createApp } from './app.ts'
import { type Config, readConfig } from './config.ts'
import type { Deps } from './deps.ts'
import { createLambdaClient } from './events/lambda-client.ts'
import { createSweep, startRelay } from './events/relay.ts'
import { invocationTimeoutMs } from './events/timing.ts'
import { createLogger, errorFields, type Logger } from './log.ts'
import { prune } from './maintenance.ts'
import { openDatabase } from './runtime/database.ts'
import { openDataDirectory } from './runtime/embedded-postgres/home.ts'
import { findEmbeddedPostgres } from './runtime/embedded-postgres.ts'
import { listen } from './runtime/http-server.ts'
import { keepSecret } from './runtime/kept-file.ts'
import { surviveLostWrites } from './runtime/lost-write.ts'
import { startNotifier } from './runtime/notifier-process.ts'
import { openStore } from './runtime/open-store.ts'
import { createNodeHasher } from './runtime/password-hasher.ts'
import { serveReferencePage } from './runtime/reference-page.ts'
import { createStack, type Stack, stopOnSignals } from './runtime/shutdown.ts'
import { formatSocketUrl } from './runtime/socket-url.ts'
import { within } from './runtime/within.ts'
import { StartError } from './start-error.ts'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url))

/** Requests under way get this long at the end, the relay this long to hand over what was just committed. */
const graceMs = { requests: 5000, relay: 1000 }
const pruneEveryMs = 3_600_000

async function start(config: Config, log: Logger, stack: Stack) {
  const dataDirectory = resolve(config.dataDirectory)
  const keepsNothing = config.databaseUrl && config.jwtSecrets && config.notifier.endpoint
  if (!keepsNothing) await openDataDirectory(dataDirectory)
  // The cheapest check of a start comes first.
  const secrets = await jwtSecrets(config, dataDirectory)
  const store = await openStore(config, log, stack)
  const db = await openDatabase({ config, dataDirectory, packageRoot, log, stack })
  const invoke = await openNotifier(config, dataDirectory, log, stack)
  const relay = startRelay(createSweep({ db, invoke, log }), log)
  stack.push('relay', () => within(graceMs.relay, relay.stop()))
  const pruneNow = () => prune(db).catch((error) => log.warn('old rows were not removed', errorFields(error)))
  pruneNow()
  const pruning = setInterval(pruneNow, pruneEveryMs)
  stack.push('pruning', async () => clearInterval(pruning))

  const deps: Deps = {
    config,
    db,
    ...(await createTokens(secrets, config.tokens)),
    passwords: await createNodeHasher({
      cost: config.bcryptCost,
      workerEntry: file('bcrypt-worker.js'),
      log,
    }),
    ...store,
    now: Date.now,
    log,
    background: (work) => void work,
    completionRecorded: relay.wake,
  }
  const app = createApp({
    provide: () => deps,
    connectionAddress: (c) => getConnInfo(c).remote.address,
    referencePage: serveReferencePage(file('public')),
    corsOrigins: config.corsOrigins,
    publicUrl: config.publicUrl,
  })
  const server = await listen(app.fetch, config)
  stack.push('server', () => server.close(graceMs.requests))
  log.info('listening', {
    url: `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${server.port}`,
  })
}

/**
 * Only a laptop's own service may make its secret itself: two machines, or a database that outlives the data directory,
 * would make two, and tokens would hold on one of them.
 */
async function jwtSecrets(
  { jwtSecrets, databaseUrl, host }: Config,
  dataDirectory: string,
): Promise<string[]> {
  if (jwtSecrets) return jwtSecrets
  if (!databaseUrl && /^(127\.|::1$|localhost$)/.test(host))
    return [await keepSecret(dataDirectory, 'jwt-secret')]
  const reason = databaseUrl ? 'DATABASE_URL is set' : `HOST is ${host}`
  throw new StartError(
    `JWT_SECRET: missing, and ${reason}; give a secret of at least 32 bytes, such as openssl rand -base64 48 makes`,
  )
}

async function openNotifier(config: Config, dataDirectory: string, log: Logger, stack: Stack) {
  const { endpoint, port, functionName, invocation, region, credentials } = config.notifier
  const options = { functionName, invocation, region, timeoutMs: invocationTimeoutMs }
  if (endpoint && credentials) return createLambdaClient({ ...options, endpoint, credentials }).invoke
  const notifier = await startNotifier({
    entry: file('notifier.js'),
    port,
    dataDirectory,
    functionName,
    region,
    databaseUrl: await queueUrl(config, dataDirectory),
    environment: process.env,
    log,
  })
  stack.push('notifier', notifier.stop)
  return createLambdaClient({ ...options, endpoint: notifier.endpoint, credentials: notifier.credentials })
    .invoke
}

/** The notifier keeps its queue in the API's database, unless NOTIFIER_DATABASE_URL names another. */
async function queueUrl({ databaseUrl }: Config, dataDirectory: string) {
  if (databaseUrl) return databaseUrl
  const embedded = await findEmbeddedPostgres({ dataDirectory, packageRoot })
  return embedded ? formatSocketUrl(embedded) : undefined
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
