/** Entry on AWS Lambda: the app behind an HTTP API or a function URL, and maintenance on a schedule. */
import { fileURLToPath } from 'node:url'
import type { Context as LambdaContext, ScheduledEvent } from 'aws-lambda'
import { createApp } from './app.ts'
import { createTokens } from './auth/tokens.ts'
import { readConfig } from './config/api.ts'
import { createLogger, errorFields } from './core/log.ts'
import { StartError } from './core/start-error.ts'
import { settleWithin } from './core/timeout.ts'
import type { Deps } from './http/deps.ts'
import { createLambdaClient } from './outbox/lambda-client.ts'
import { createDelivery } from './outbox/relay.ts'
import { invocationTimeoutMs } from './outbox/timing.ts'
import { noMetrics } from './ports/metrics.ts'
import { createPasswordHasher, unqueued } from './ports/passwords.ts'
import { answerHttp, type HttpEvent, isHttpEvent, lambdaRuntime } from './runtime/http/lambda-http.ts'
import { serveReferencePage } from './runtime/http/reference-page.ts'
import { maintain } from './runtime/maintenance.ts'
import { bcryptjs } from './runtime/passwords/bcryptjs.ts'
import { connectTo } from './runtime/postgres/connect.ts'
import { createDatabase } from './runtime/postgres/postgres.ts'
import { reopenWhenStale } from './runtime/postgres/reopen-when-stale.ts'
import { createStack } from './runtime/process/shutdown.ts'
import { openStore } from './runtime/store/open-store.ts'

/** An environment serves one request at a time, which seldom needs a second connection. */
const defaultPool = 2
/**
 * Between two events an environment is frozen: it does not notice that a connection was closed, and the first
 * statement on it would fail. After this long without an event, connections are opened again.
 */
const staleAfterMs = 30_000
/** Shorter: after a lost connection, limits count in this environment only. */
const redisStaleAfterMs = 2_000
/** An answer waits this long for background work such as deliveries. The schedule does the rest. */
const backgroundMs = 2000
/** Time of a scheduled invocation that is reserved for deliveries in flight, and for maintenance. */
const reserveMs = invocationTimeoutMs + 3000
/** The longest time for filling in search texts, and the end of an invocation that stays unused. */
const fillMs = { longest: 10_000, reserve: 2000 }

const config = readConfig(process.env)
const { databaseUrl, jwtSecrets } = config
if (!databaseUrl || !jwtSecrets) {
  const missing = [
    databaseUrl ? [] : 'DATABASE_URL: missing; give one such as postgres://user:password@host:5432/database',
    jwtSecrets
      ? []
      : 'JWT_SECRET: missing; give a secret of at least 32 bytes, such as openssl rand -base64 48 makes',
  ]
  throw new StartError(missing.flat().join('\n'))
}
const log = createLogger(config.logLevel)
const store = await openStore(config, log, createStack(log), { staleAfterMs: redisStaleAfterMs })
if (!config.store)
  log.warn('each environment counts limits by itself: neither REDIS_URL nor UPSTASH_REDIS_REST_URL is set')
const { invoke } = createInvoke()

const poolSize = process.env.DATABASE_POOL ? config.databasePool : defaultPool
const connect = connectTo(databaseUrl, config)
const database = reopenWhenStale({
  open: () => createDatabase(connect, { poolSize, timeoutMs: config.databaseTimeoutMs }),
  close: (open) => open.close(),
  staleAfterMs,
})

const shared: Omit<Deps, 'db' | 'background' | 'eventRecorded'> = {
  config,
  ...(await createTokens(jwtSecrets, config.tokens)),
  // Blocks the thread, on which no other request waits. A native binary would bind the zip to a platform.
  passwords: unqueued(createPasswordHasher(bcryptjs, config.bcryptCost)),
  ...store,
  isStopping: () => false,
  now: Date.now,
  log,
  metrics: noMetrics,
}

const app = createApp({
  ...lambdaRuntime,
  referencePage: serveReferencePage(fileURLToPath(new URL('public', import.meta.url))),
  corsOrigins: config.corsOrigins,
  publicUrl: config.publicUrl,
})

/** @throws TypeError for an event of any other kind */
export async function handler(event: unknown, context: Pick<LambdaContext, 'getRemainingTimeInMillis'>) {
  const db = database.use()
  try {
    if (isHttpEvent(event)) return await answer(event, db)
    if (isScheduled(event)) {
      await createDelivery({ db, invoke, log })({
        claimForMs: context.getRemainingTimeInMillis() - reserveMs,
      })
      const rest = context.getRemainingTimeInMillis() - fillMs.reserve
      return await maintain(db, AbortSignal.timeout(Math.max(0, Math.min(fillMs.longest, rest))))
    }
  } finally {
    database.used()
  }
  throw new TypeError(
    'not an event of an HTTP API or a function URL (payload format 2.0), nor of a schedule (detail-type "Scheduled Event")',
  )
}

async function answer(event: HttpEvent, db: Deps['db']) {
  const inBackground: Promise<void>[] = []
  const background = (work: Promise<void>) => void inBackground.push(settleWithin(backgroundMs, work))
  const deliverDue = createDelivery({ db, invoke, log })
  const result = await answerHttp(app, event, {
    ...shared,
    db,
    background,
    eventRecorded: () =>
      background(
        deliverDue({ claimForMs: 0 }).then(
          () => {},
          (error) => log.warn('the outbox could not be read', errorFields(error)),
        ),
      ),
  })
  // The environment is frozen with the answer, and its background work with it.
  await Promise.all(inBackground)
  return result
}

/** An event of an EventBridge rule, or of EventBridge Scheduler without an input of its own. */
function isScheduled(event: unknown): event is ScheduledEvent {
  const { 'detail-type': type, source } = (event ?? {}) as Partial<ScheduledEvent>
  return type === 'Scheduled Event' && (source === 'aws.events' || source === 'aws.scheduler')
}

function createInvoke() {
  const { region, credentials, endpoint = `https://lambda.${region}.amazonaws.com` } = config.notifier
  if (!credentials)
    throw new StartError(
      'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: missing; Lambda gives every function those of its role',
    )
  return createLambdaClient({ ...config.notifier, endpoint, credentials, timeoutMs: invocationTimeoutMs })
}
