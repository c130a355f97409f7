/** What there is one of beside the API, however many processes serve it: data directory, secrets, database, notifier. */
import { resolve } from 'node:path'
import type { Config } from '../config/api.ts'
import { isLoopback } from '../core/host.ts'
import type { Logger } from '../core/log.ts'
import { StartError } from '../core/start-error.ts'
import type { Credentials } from '../outbox/credentials.ts'
import { openDataDirectory } from './embedded-postgres/home.ts'
import { assertCredentials } from './notifier/aws-credentials.ts'
import { startNotifier } from './notifier/process.ts'
import type { DatabaseAddress } from './postgres/connect.ts'
import { startDatabase } from './postgres/service-database.ts'
import { formatSocketUrl } from './postgres/socket-url.ts'
import { keepSecret } from './process/kept-file.ts'
import type { Stack } from './process/shutdown.ts'

/** Plain data: a process hands it to another as a message. */
export type SharedServices = {
  jwtSecrets: string[]
  database: DatabaseAddress
  /** Without credentials AWS's provider chain is asked. */
  notifier: { endpoint: string; credentials: Credentials | undefined }
}

type Opening = {
  config: Config
  packageRoot: string
  /** Path of the bundled entry, dist/notifier.js. */
  notifierEntry: string
  log: Logger
  stack: Stack
}

/** @throws StartError, in one line, for whatever keeps the service from starting here */
export async function openSharedServices({
  config,
  packageRoot,
  notifierEntry,
  log,
  stack,
}: Opening): Promise<SharedServices> {
  const dataDirectory = resolve(config.dataDirectory)
  const keepsNothing = config.databaseUrl && config.jwtSecrets && config.notifier.endpoint
  if (!keepsNothing) await openDataDirectory(dataDirectory)
  // The cheapest check of a start comes first.
  const jwtSecrets = await jwtSecretsOf(config, dataDirectory)
  const database = await startDatabase({ config, dataDirectory, packageRoot, log, stack })
  // The notifier keeps its queue in the API's database, unless NOTIFIER_DATABASE_URL names another.
  const databaseUrl = typeof database === 'string' ? database : formatSocketUrl(database)
  const notifier = await openNotifier(config, {
    dataDirectory,
    databaseUrl,
    entry: notifierEntry,
    log,
    stack,
  })
  return { jwtSecrets, database, notifier }
}

/**
 * Only a laptop's own service may make its secret itself: two machines, or a database that outlives the data directory,
 * would make two, and tokens would hold on one of them.
 * @throws StartError when there must be one and is none
 */
export async function jwtSecretsOf(
  { jwtSecrets, databaseUrl, host }: Pick<Config, 'jwtSecrets' | 'databaseUrl' | 'host'>,
  dataDirectory: string,
): Promise<string[]> {
  if (jwtSecrets) return jwtSecrets
  if (!databaseUrl && isLoopback(host)) return [await keepSecret(dataDirectory, 'jwt-secret')]
  const reason = databaseUrl ? 'DATABASE_URL is set' : `HOST is ${host}`
  throw new StartError(
    `JWT_SECRET: missing, and ${reason}; give a secret of at least 32 bytes, such as openssl rand -base64 48 makes`,
  )
}

async function openNotifier(
  { notifier }: Config,
  {
    stack,
    ...options
  }: {
    dataDirectory: string
    databaseUrl: string
    entry: string
    log: Logger
    stack: Stack
  },
): Promise<SharedServices['notifier']> {
  const { endpoint, port, functionName, region, credentials } = notifier
  if (endpoint) {
    await assertCredentials(credentials)
    return { endpoint, credentials }
  }
  const started = await startNotifier({ ...options, port, functionName, region, environment: process.env })
  stack.push('notifier', started.stop)
  return { endpoint: started.endpoint, credentials: started.credentials }
}
