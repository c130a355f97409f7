/** Entry on Cloudflare Workers: the app, on bindings and variables. */
import postgres from 'postgres'
import { createApp } from './app.ts'
import { createTokens } from './auth/tokens.ts'
import { type EdgeConfig, readEdgeConfig } from './config/edge.ts'
import { createLogger, errorFields } from './core/log.ts'
import { Problem, problemMediaType } from './core/problem.ts'
import { StartError } from './core/start-error.ts'
import type { Deps } from './http/deps.ts'
import { createLambdaClient } from './outbox/lambda-client.ts'
import { createDelivery } from './outbox/relay.ts'
import { invocationTimeoutMs } from './outbox/timing.ts'
import { noMetrics } from './ports/metrics.ts'
import { createPasswordHasher, outliving, queued, queueLimits } from './ports/passwords.ts'
import { maintain } from './runtime/maintenance.ts'
import { bcryptjs } from './runtime/passwords/bcryptjs.ts'
import { createDatabase, valueOptions } from './runtime/postgres/postgres.ts'
import { createStoreState, overMemory, overShared, type StoreState } from './runtime/store/shared-store.ts'
import { upstashStore } from './runtime/store/upstash.ts'

type Env = {
  HYPERDRIVE: { connectionString: string }
  /** The notifier's Worker. Without it NOTIFIER_ENDPOINT must be set. */
  NOTIFIER?: Fetcher
  /** The files of the reference page. */
  ASSETS: Fetcher
  [variable: string]: unknown
}
type Fetcher = { fetch: (url: string, init?: RequestInit) => Promise<Response> }
type ExecutionContext = { waitUntil(work: Promise<unknown>): void }

type StoreDeps = 'limiter' | 'cache' | 'isStoreThere'

/** A Worker may hold six connections open at once; a request seldom needs a second one. */
const connections = 5
/** Shared by the requests of an isolate. Nothing in it is bound to the I/O of a request. */
type Isolate = {
  app: ReturnType<typeof createApp>
  shared: Omit<Deps, 'config' | 'db' | 'eventRecorded' | 'background' | StoreDeps> & {
    config: EdgeConfig
  }
  store: StoreState
}
let isolate: Isolate | undefined

/**
 * A sweep claims events for this long. The platform ends background work 30 s after the answer, which must be
 * enough for the last claimed events. A cron trigger has minutes, but the next one comes after one.
 */
const claimForMs = { request: 10_000, cron: 45_000 }
/** The time in which a cron trigger fills in search texts. */
const fillForMs = 20_000

/** Each of concurrent first requests creates one, since another request may be cancelled. One is kept. */
async function openIsolate(env: Env): Promise<Isolate> {
  const created = isolate ?? (await createIsolate(env))
  isolate ??= created
  return isolate
}

async function createIsolate(env: Env): Promise<Isolate> {
  const config = readEdgeConfig(env)
  const log = createLogger(config.logLevel)
  if (!config.store) log.warn('each isolate counts limits by itself: UPSTASH_REDIS_REST_URL is not set')
  return {
    store: createStoreState(log),
    app: createApp({
      provide: (c) => c.env.deps,
      // Cloudflare's header is trusted by a setting only: in the preview a client could send it.
      connectionAddress: () => undefined,
      proxiesAreNear: false,
      referencePage: async (c) => {
        const file = await env.ASSETS.fetch(`http://assets${c.req.path}`)
        if (!file.ok || !file.body) return undefined
        return c.body(file.body, 200, { 'Content-Type': file.headers.get('Content-Type') ?? '' })
      },
      corsOrigins: config.corsOrigins,
      publicUrl: config.publicUrl,
    }),
    shared: {
      config,
      ...(await createTokens(config.jwtSecrets, config.tokens)),
      // A hash blocks the isolate's thread, so a second one would not run beside it.
      passwords: queued(createPasswordHasher(bcryptjs, config.bcryptCost), queueLimits(config.bcryptCost, 1)),
      isStopping: () => false,
      now: Date.now,
      log,
      metrics: noMetrics,
    },
  }
}

/** A database client per request: requests of a Worker cannot share a socket. */
function open(env: Env, { config, log }: Isolate['shared']) {
  const options = { ...valueOptions, prepare: config.databasePrepare }
  const db = createDatabase((own) => postgres(env.HYPERDRIVE.connectionString, { ...options, ...own }), {
    poolSize: connections,
    timeoutMs: config.databaseTimeoutMs,
  })
  return { db, deliverDue: createDelivery({ db, invoke: createInvoke(env, config), log }) }
}

/** Without a store each isolate counts limits by itself, and nothing is cached. */
function openStore({ shared: { config }, store: state }: Isolate): Pick<Deps, StoreDeps> {
  if (!config.store) return overMemory(state.memory, false)
  return overShared(upstashStore(config.store), { state, cached: config.cache })
}

function createInvoke(env: Env, { notifier }: EdgeConfig) {
  const { NOTIFIER } = env
  if (!notifier.endpoint && !NOTIFIER) {
    throw new StartError('NOTIFIER_ENDPOINT: missing; give one, or bind the notifier as NOTIFIER')
  }
  return createLambdaClient({
    ...notifier,
    // A service binding resolves no name. The host is only part of the signature.
    endpoint: notifier.endpoint ?? 'http://notifier',
    timeoutMs: invocationTimeoutMs,
    ...(NOTIFIER && !notifier.endpoint ? { fetch: (url, init) => NOTIFIER.fetch(url, init) } : {}),
  }).invoke
}

export default {
  async fetch(request: Request, env: Env, context: ExecutionContext): Promise<Response> {
    try {
      const isolate = await openIsolate(env)
      const { app, shared } = isolate
      const { db, deliverDue } = open(env, shared)
      let delivering: Promise<unknown> = Promise.resolve()
      const eventRecorded = () => {
        delivering = deliverDue({ claimForMs: claimForMs.request }).catch((error) =>
          shared.log.warn('the outbox could not be read', errorFields(error)),
        )
      }
      try {
        const background = (work: Promise<void>) => context.waitUntil(work)
        const passwords = outliving(shared.passwords, background)
        const deps: Deps = { ...shared, ...openStore(isolate), passwords, db, background, eventRecorded }
        return await app.fetch(request, { deps })
      } finally {
        context.waitUntil(delivering.then(db.close))
      }
    } catch (error) {
      if (!(error instanceof StartError)) throw error
      console.error(error.message)
      const problem = new Problem(500, 'The service is not set up; its log says what is missing.')
      return new Response(JSON.stringify(problem), {
        status: 500,
        headers: { 'Content-Type': problemMediaType, 'X-Request-Id': crypto.randomUUID() },
      })
    }
  },

  /** The cron trigger: delivers the events that requests left, then does the database maintenance. */
  async scheduled(_: unknown, env: Env): Promise<void> {
    const { shared } = await openIsolate(env)
    const { db, deliverDue } = open(env, shared)
    try {
      await deliverDue({ claimForMs: claimForMs.cron })
      await maintain(db, AbortSignal.timeout(fillForMs))
    } finally {
      await db.close()
    }
  },
}
