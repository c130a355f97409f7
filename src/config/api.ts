/** Every setting, its default and its check. Parsed once, at the entry; below it only typed values are passed on. */
import * as z from 'zod'
import { parseRange } from '../core/addresses.ts'
import { StartError } from '../core/start-error.ts'
import type { Credentials } from '../outbox/credentials.ts'
import type { LimitRule } from '../store/limiter.ts'
import { NotificationSettings, notificationsOf } from './notifications.ts'
import {
  AwsRegion,
  baseUrl,
  credentialUrl,
  databaseUrl,
  duration,
  EventSettings,
  FunctionNameSetting,
  headerValue,
  LogLevelSetting,
  readSettings,
  secret,
  unitMs,
  wholeNumber,
} from './settings.ts'

function rateLimit(name: LimitRule['name']) {
  return z.string().transform((text, context): LimitRule => {
    const [, limit, amount, unit] = /^(\d{1,7})\/(\d{1,6})(s|m|h)$/.exec(text) ?? []
    const windowMs = Number(amount) * unitMs[(unit ?? 's') as keyof typeof unitMs]
    if (Number(limit) > 0 && windowMs > 0 && windowMs <= unitMs.d)
      return { name, limit: Number(limit), windowMs }
    context.addIssue(
      'give requests per time such as 100/60s, from 1 to 9999999, in s, m or h, over at most a day',
    )
    return z.NEVER
  })
}

const onOff = z.enum(['on', 'off'], 'give on or off').transform((text) => text === 'on')

/** Whether a browser could send the text as its `Origin`: lower case, Punycode, no default port, no wildcard. */
const isOrigin = (text: string) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url?.origin === text && /^https?:\/\/(?:[\w.-]+|\[[0-9a-f:]+\])(?::\d+)?$/.test(text)
}

const origins = z.string().transform((text, context) => {
  const list = text.split(',').map((origin) => origin.trim())
  if (list.every(isOrigin)) return list
  context.addIssue(
    'give origins such as https://app.example.com, separated by commas, as browsers send them: without a path or a wildcard',
  )
  return z.NEVER
})

const addressRanges = z.string().transform((text, context) => {
  const ranges = text.split(',').map((range) => parseRange(range.trim()))
  if (ranges.every((range) => range !== undefined)) return ranges
  context.addIssue('give addresses and ranges of them such as 10.0.0.0/8 or 2001:db8::7, separated by commas')
  return z.NEVER
})

const secrets = z.string().transform((text, context) => {
  const list = text.split(',').map((secret) => secret.trim())
  if (list.every((secret) => new TextEncoder().encode(secret).length >= 32)) return list
  context.addIssue(
    'give one or more secrets of at least 32 bytes, newest first, separated by commas; openssl rand -base64 48 makes one',
  )
  return z.NEVER
})

/** Each setting with its default, by its name in the environment. */
export const Settings = z.object({
  HOST: z.string().default('127.0.0.1'),
  PORT: z.prefault(wholeNumber(0, 65_535), '3000'),
  WEB_CONCURRENCY: z.prefault(wholeNumber(1, 128), '1'),
  MAX_CONNECTIONS: z.optional(wholeNumber(1, 1_000_000)),
  SHUTDOWN_DELAY: z.prefault(duration(0, '5s'), '0s'),
  METRICS_HOST: z.string().default('127.0.0.1'),
  METRICS_PORT: z.optional(wholeNumber(0, 65_535)),
  DATABASE_URL: z.optional(databaseUrl),
  DATABASE_CA: z.string().optional(),
  DATABASE_POOL: z.prefault(wholeNumber(1, 1000), '10'),
  DATABASE_TIMEOUT: z.prefault(duration(100, '10s'), '10s'),
  DATABASE_PREPARE: onOff.prefault('on'),
  DATA_DIR: z.string().default('./data'),
  REDIS_URL: z.optional(credentialUrl(['redis:', 'rediss:'], 'redis://user:password@host:6379/0')),
  REDIS_PREFIX: z
    .string()
    .regex(/^[\w:.-]{1,64}$/, 'give up to 64 letters, digits and : . _ -, such as staging:')
    .default('task-api:'),
  UPSTASH_REDIS_REST_URL: z.optional(baseUrl('https://eu1-sure-fox-12345.upstash.io')),
  UPSTASH_REDIS_REST_TOKEN: z.optional(secret(headerValue)),
  CACHE: onOff.prefault('on'),
  JWT_SECRET: secret(secrets).optional(),
  JWT_ISSUER: z.string().default('task-api'),
  JWT_AUDIENCE: z.string().default('task-api'),
  ACCESS_TOKEN_TTL: z.prefault(duration(1000, '1h'), '1h'),
  SESSION_IDLE_TTL: z.optional(duration(1000, '30d')),
  SESSION_MAX_TTL: z.prefault(duration(1000, '90d'), '90d'),
  RATE_LIMIT_USER: rateLimit('user').prefault('100/60s'),
  RATE_LIMIT_ANONYMOUS: rateLimit('anonymous').prefault('20/60s'),
  RATE_LIMIT_TOKEN: rateLimit('token').prefault('60/60s'),
  RATE_LIMIT_REGISTER: rateLimit('register').prefault('20/1h'),
  RATE_LIMIT_LOGIN: rateLimit('login').prefault('10/60s'),
  RATE_LIMIT_USERNAME: rateLimit('username').prefault('100/60s'),
  TRUSTED_PROXY_HEADER: z
    .string()
    .regex(/^[A-Za-z0-9-]+$/, 'give the name of one header, such as X-Forwarded-For')
    .optional(),
  TRUSTED_PROXY_HOPS: z.prefault(wholeNumber(1, 20), '1'),
  TRUSTED_PROXY_ADDRESSES: addressRanges.optional(),
  PUBLIC_URL: z.optional(baseUrl('https://tasks.example.com')),
  CORS_ORIGINS: origins.optional(),
  REGISTRATION: z.enum(['open', 'closed'], 'give open or closed').default('open'),
  NOTIFIER_ENDPOINT: z.optional(baseUrl('https://lambda.eu-west-1.amazonaws.com')),
  NOTIFIER_PORT: z.prefault(wholeNumber(1, 65_535), '3001'),
  NOTIFIER_FUNCTION: FunctionNameSetting,
  NOTIFIER_INVOCATION: z
    .enum(['RequestResponse', 'Event'], 'give RequestResponse or Event')
    .default('RequestResponse'),
  // The notifier's own, looked at here so that a bad one stops the start before anything has begun.
  ...NotificationSettings,
  ...EventSettings,
  AWS_REGION: AwsRegion,
  AWS_ACCESS_KEY_ID: z.optional(headerValue),
  AWS_SECRET_ACCESS_KEY: z.optional(secret(headerValue)),
  AWS_SESSION_TOKEN: z.optional(secret(headerValue)),
  BCRYPT_COST: z.prefault(wholeNumber(4, 15), '10'),
  LOG_LEVEL: LogLevelSetting,
})

/** What may be set, by its name in the environment. */
export const settingNames = Object.keys(Settings.shape)

/** @throws StartError with a line for each bad setting */
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
      /** Passwords that somebody logged in gives, right or wrong: as many as wrong ones at login. */
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

/** 30 days by default, or as long as a session lasts where that is less. @throws StartError when it is longer */
function idleTtlOf({ SESSION_IDLE_TTL: idle, SESSION_MAX_TTL: maximum }: z.output<typeof Settings>): number {
  if (idle === undefined) return Math.min(30 * unitMs.d, maximum)
  if (idle <= maximum) return idle
  throw new StartError(
    'SESSION_IDLE_TTL: longer than SESSION_MAX_TTL, which ends every session; give at most that, or raise SESSION_MAX_TTL',
  )
}

/** @throws StartError when two servers of ours would listen on one port; 0 lets the system choose a free one */
function checkPortsDiffer({
  PORT,
  METRICS_PORT,
  NOTIFIER_PORT,
  NOTIFIER_ENDPOINT,
}: z.output<typeof Settings>) {
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

/** Undefined where AWS's provider chain is to be asked. @throws StartError for half a pair */
function credentialsOf({
  AWS_ACCESS_KEY_ID: accessKeyId,
  AWS_SECRET_ACCESS_KEY: secretAccessKey,
  AWS_SESSION_TOKEN: sessionToken,
  NOTIFIER_ENDPOINT: endpoint,
}: z.output<typeof Settings>): Credentials | undefined {
  if (accessKeyId && secretAccessKey)
    return { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
  // Without an endpoint the keys are for other programs, and not used.
  if (!endpoint || !(accessKeyId || secretAccessKey)) return undefined
  throw new StartError(
    'AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: one of them is missing; give the key pair that may invoke the function, or neither',
  )
}

/** Of AWS's own endpoints, whose hosts name it; a request that is signed for another one is refused. */
const regionOf = (endpoint = '') =>
  /^https?:\/\/(?:[\w-]+\.)*lambda(?:-fips)?\.([a-z]{2}(?:-[a-z]+)+-\d)\.(?:vpce\.)?(?:amazonaws\.com|api\.aws)/.exec(
    endpoint,
  )?.[1]

/** Where what several processes share is kept; null for this process's memory. */
function storeOf({
  REDIS_URL,
  REDIS_PREFIX: prefix,
  UPSTASH_REDIS_REST_URL,
  UPSTASH_REDIS_REST_TOKEN,
}: z.output<typeof Settings>) {
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
