/** Entry of `npm run dev:edge`: both Workers under wrangler dev, on the embedded database. */
import { createServer } from 'node:http'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { openChannels } from '../../workers/notifier/channels.ts'
import { readWorkerSettings } from '../../workers/notifier/settings.ts'
import type { Config } from '../config/api.ts'
import { settingNames } from '../config/api-settings.ts'
import { readEdgeConfig } from '../config/edge.ts'
import { describeFailure } from '../core/failure.ts'
import type { Logger } from '../core/log.ts'
import { StartError } from '../core/start-error.ts'
import { startEdgePreview } from '../runtime/edge/preview.ts'
import { openDataDirectory } from '../runtime/embedded-postgres/home.ts'
import { listenOn } from '../runtime/http/listen.ts'
import { credentialsPath, loadOrCreateCredentials } from '../runtime/notifier/credentials.ts'
import { readDatabaseUrl } from '../runtime/postgres/database-url.ts'
import { valueOptions } from '../runtime/postgres/postgres.ts'
import { startMigrated } from '../runtime/postgres/service-database.ts'
import { runProgram } from '../runtime/process/program.ts'
import type { Stack } from '../runtime/process/shutdown.ts'
import { jwtSecretsOf } from '../runtime/shared-services.ts'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))

/** Without Hyperdrive's pool each request opens its own connections. */
const maxConnections = 500
/** Settings of `npm start` only, and those that this program supplies. */
const notForWorkers = new Set([
  'HOST',
  'PORT',
  'WEB_CONCURRENCY',
  'DATA_DIR',
  'DATABASE_URL',
  'NOTIFIER_PORT',
])

async function start(config: Config, log: Logger, stack: Stack) {
  // Cheap checks come first.
  const names = { host: 'HOST', port: 'PORT' }
  const port = await findPort({ host: config.host, port: config.port, names })
  const dataDirectory = await openDataDirectory(resolve(config.dataDirectory))
  const variables = await variablesOf(config, dataDirectory)
  const opening = { config, dataDirectory, packageRoot, log, stack }
  if (config.databaseUrl) await assertReachable(config)
  const databaseUrl = config.databaseUrl ?? (await startEmbedded(opening))
  const preview = await startEdgePreview({
    packageRoot,
    stateDirectory: join(dataDirectory, 'wrangler'),
    host: config.host,
    port,
    databaseUrl,
    variables,
    log,
  })
  stack.push('wrangler dev', preview.stop)
  log.info('listening', { url: preview.url })
  return { failed: preview.failed }
}

/** wrangler dev ends with a stack trace when it cannot connect. @throws StartError in that case */
async function assertReachable({ databaseUrl, databaseCa }: Config) {
  const { options } = readDatabaseUrl({ databaseUrl: String(databaseUrl), databaseCa })
  const sql = postgres({ ...valueOptions, ...options, max: 1 })
  try {
    await sql`select 1`
  } catch (error) {
    throw new StartError(
      `DATABASE_URL: the database cannot be reached (${describeFailure(error)}); start it, or leave this out`,
    )
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function startEmbedded(opening: Omit<Parameters<typeof startMigrated>[0], 'maxConnections'>) {
  const names = { host: 'HOST', port: 'PORT' }
  const tcpPort = await findPort({ host: '127.0.0.1', port: 0, names })
  const { url } = await startMigrated({ ...opening, maxConnections, tcpPort })
  if (url === null) throw new Error('the embedded Postgres listens on no port')
  return url
}

/** The variables of both Workers, checked as they check them. @throws StartError */
async function variablesOf(config: Config, dataDirectory: string): Promise<Record<string, string>> {
  const given = Object.entries(process.env).flatMap(([name, value]) =>
    isForWorkers(name) && value ? [[name, value]] : [],
  )
  const { endpoint } = config.notifier
  const kept = endpoint ? undefined : await loadOrCreateCredentials(credentialsPath(dataDirectory))
  const variables: Record<string, string> = {
    ...Object.fromEntries(given),
    JWT_SECRET: (await jwtSecretsOf(config, dataDirectory)).join(),
    ...(kept ? { AWS_ACCESS_KEY_ID: kept.accessKeyId, AWS_SECRET_ACCESS_KEY: kept.secretAccessKey } : {}),
  }
  readEdgeConfig(variables)
  openChannels(readWorkerSettings(variables).notifications)
  return variables
}

const isForWorkers = (name: string) =>
  (settingNames.includes(name) || /^NOTIFY_/.test(name)) && !notForWorkers.has(name)

/** The given port, or for 0 one that is free at this moment. @throws StartError when it cannot be used */
async function findPort(address: Parameters<typeof listenOn>[1]): Promise<number> {
  const probe = createServer()
  const port = await listenOn(probe, address)
  await new Promise((done) => probe.close(done))
  return port
}

runProgram(start)
