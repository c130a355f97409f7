/** The API's configuration. Read once, at the entry; below it only typed values are passed on. */
import type * as z from 'zod/mini'
import { StartError } from '../core/start-error.ts'
import type { Credentials } from '../outbox/credentials.ts'
import type { LimitRule } from '../store/limiter.ts'
import { Settings } from './api-settings.ts'
import { notificationsOf } from './notifications.ts'
import { readSettings, unitMs } from './settings.ts'

type Values = z.output<typeof Settings>

/** @throws StartError with a line for each wrong setting */
export function readConfig(environment: Record<string, unknown>) {
  const settings = readSettings(Settings, environment)
  notificationsOf(settings)
  const credentials = credentialsOf(settings)
  const region = regionOf(settings.NOTIFIER_ENDPOINT)
  if (region && region !== settings.AWS_REGION) {
    throw new StartError(
      `AWS_REGION: ${settings.AWS_REGION}, but NOTIFIER_ENDPOINT is in ${region}; give ${region}`,
    )
  }
  checkPortsDiffer(settings)
  if (settings.WEB_CONCURRENCY > 1 && !settings.REDIS_URL && !settings.UPSTASH_REDIS_REST_URL) {
    throw new StartError(
      `WEB_CONCURRENCY: ${settings.WEB_CONCURRENCY} processes cannot share limits in memory; give REDIS_URL, or UPSTASH_REDIS_REST_URL with its token`,
    )
  }
  return {
    host: settings.HOST,
    port: settings.PORT,
    webConcurrency: settings.WEB_CONCURRENCY,
    maxConnections: settings.MAX_CONNECTIONS,
    shutdownDelayMs: settings.SHUTDOWN_DELAY,
    metrics:
      settings.METRICS_PORT === undefined
        ? null
        : { host: settings.METRICS_HOST, port: settings.METRICS_PORT },
    databaseUrl: settings.DATABASE_URL,
    databaseCa: settings.DATABASE_CA,
    databasePool: settings.DATABASE_POOL,
    databaseTimeoutMs: settings.DATABASE_TIMEOUT,
    databasePrepare: settings.DATABASE_PREPARE,
    dataDirectory: settings.DATA_DIR,
    store: storeOf(settings),
    cache: settings.CACHE,
    jwtSecrets: settings.JWT_SECRET,
    tokens: {
      issuer: settings.JWT_ISSUER,
      audience: settings.JWT_AUDIENCE,
      accessTtlMs: settings.ACCESS_TOKEN_TTL,
      sessionIdleTtlMs: idleTtlOf(settings),
      sessionMaxTtlMs: settings.SESSION_MAX_TTL,
    },
    limits: {
      user: settings.RATE_LIMIT_USER,
      anonymous: settings.RATE_LIMIT_ANONYMOUS,
      token: settings.RATE_LIMIT_TOKEN,
      register: settings.RATE_LIMIT_REGISTER,
      login: settings.RATE_LIMIT_LOGIN,
      username: settings.RATE_LIMIT_USERNAME,
      /** Passwords given by logged-in users, right or wrong. As many as wrong ones at log-in. */
      password: { ...settings.RATE_LIMIT_LOGIN, name: 'password' } satisfies LimitRule,
    },
    trustedProxy: settings.TRUSTED_PROXY_HEADER
      ? {
          header: settings.TRUSTED_PROXY_HEADER.toLowerCase(),
          hops: settings.TRUSTED_PROXY_HOPS,
          peers: settings.TRUSTED_PROXY_ADDRESSES,
        }
      : null,
    publicUrl: settings.PUBLIC_URL ?? '',
    corsOrigins: settings.CORS_ORIGINS ?? [],
    registration: settings.REGISTRATION,
    notifier: {
      endpoint: settings.NOTIFIER_ENDPOINT,
      port: settings.NOTIFIER_PORT,
      functionName: settings.NOTIFIER_FUNCTION,
      invocation: settings.NOTIFIER_INVOCATION,
      region: settings.AWS_REGION,
      credentials,
    },
    bcryptCost: settings.BCRYPT_COST,
    logLevel: settings.LOG_LEVEL,
  }
}

/** 30 days by default, at most SESSION_MAX_TTL. @throws StartError when it is set to a longer time */
function idleTtlOf({ SESSION_IDLE_TTL: idle, SESSION_MAX_TTL: maximum }: Values): number {
  if (idle === undefined) return Math.min(30 * unitMs.d, maximum)
  if (idle <= maximum) return idle
  throw new StartError(
    'SESSION_IDLE_TTL: longer than SESSION_MAX_TTL, which ends every session; give at most that, or raise SESSION_MAX_TTL',
  )
}

/** @throws StartError when two servers would listen on one port. 0 lets the system choose a free one. */
function checkPortsDiffer({ PORT, METRICS_PORT, NOTIFIER_PORT, NOTIFIER_ENDPOINT }: Values) {
  const ports = Object.entries({
    PORT,
    METRICS_PORT: METRICS_PORT ?? 0,
    NOTIFIER_PORT: NOTIFIER_ENDPOINT ? 0 : NOTIFIER_PORT,
  })
  for (const [index, [name, port]] of ports.entries()) {
    const [same] = ports.slice(0, index).find(([, other]) => port !== 0 && other === port) ?? []
    if (same) throw new StartError(`${name}: ${port} is the port of ${same} too; give each a port of its own`)
  }
}

/** Undefined leaves the keys to AWS's provider chain. @throws StartError for half a pair */
function credentialsOf({
  AWS_ACCESS_KEY_ID: accessKeyId,
  AWS_SECRET_ACCESS_KEY: secretAccessKey,
  AWS_SESSION_TOKEN: sessionToken,
  NOTIFIER_ENDPOINT: endpoint,
}: Values): Credentials | undefined {
  if (accessKeyId && secretAccessKey)
    return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
  // Without an endpoint the keys belong to other programs.
  if (!endpoint || !(accessKeyId || secretAccessKey)) return undefined
  throw new StartError(
    'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: one of them is missing; give the key pair that may invoke the function, or neither',
  )
}

/** The region in the host of an AWS endpoint, which refuses requests that are signed for another one. */
const regionOf = (endpoint = '') =>
  /^https?:\/\/(?:[\w-]+\.)*lambda(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws)/.exec(
    endpoint,
  )?.[1]

/** The store that processes share. Null is the memory of each process. */
function storeOf({
  REDIS_URL,
  REDIS_PREFIX: prefix,
  UPSTASH_REDIS_REST_URL,
  UPSTASH_REDIS_REST_TOKEN,
}: Values) {
  if (REDIS_URL && UPSTASH_REDIS_REST_URL)
    throw new StartError('REDIS_URL, UPSTASH_REDIS_REST_URL: both are set; give one of them')
  if (!UPSTASH_REDIS_REST_URL !== !UPSTASH_REDIS_REST_TOKEN)
    throw new StartError(
      'UPSTASH_REDIS_REST_URL, UPSTASH_REDIS_REST_TOKEN: one of them is missing; give both or neither',
    )
  if (REDIS_URL) return { kind: 'redis' as const, url: REDIS_URL, prefix }
  if (UPSTASH_REDIS_REST_URL && UPSTASH_REDIS_REST_TOKEN)
    return { kind: 'upstash' as const, url: UPSTASH_REDIS_REST_URL, token: UPSTASH_REDIS_REST_TOKEN, prefix }
  return null
}

export type Config = ReturnType<typeof readConfig>
