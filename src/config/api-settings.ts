/** The API's settings, each with its form and its default, by its name in the environment. */
import * as z from 'zod/mini'
import { parseRange } from '../core/addresses.ts'
import type { LimitRule } from '../store/limiter.ts'
import { EventSettings } from './event-queue.ts'
import { NotificationSettings } from './notifications.ts'
import {
  AwsRegion,
  baseUrl,
  credentialUrl,
  databaseUrl,
  duration,
  FunctionNameSetting,
  form,
  headerValue,
  LogLevelSetting,
  list,
  secret,
  text,
  unitMs,
  wholeNumber,
} from './settings.ts'

const string = (normal: string) => z._default(z.string(), normal)
const number = (minimum: number, maximum: number, normal: number) =>
  z.prefault(wholeNumber(minimum, maximum), String(normal))
const time = (minimumMs: number, example: string, normal = example) =>
  z.prefault(duration(minimumMs, example), normal)
const flag = z.prefault(
  form((text) => ({ on: true, off: false })[text], 'give on or off'),
  'on',
)

function rateLimit(name: LimitRule['name'], normal: string) {
  const read = (text: string): LimitRule | undefined => {
    const [, limit, amount, unit] = /^(\d{1,7})\/(\d{1,6})(s|m|h)$/.exec(text) ?? []
    const windowMs = Number(amount) * unitMs[(unit ?? 's') as keyof typeof unitMs]
    const isRight = Number(limit) > 0 && windowMs > 0 && windowMs <= unitMs.d
    return isRight ? { name, limit: Number(limit), windowMs } : undefined
  }
  const advice = 'give requests per time such as 100/60s, from 1 to 9999999, in s, m or h, over at most a day'
  return z.prefault(form(read, advice), normal)
}

const jwtSecrets = secret(
  list(
    (text) => new TextEncoder().encode(text).length >= 32,
    'give one or more secrets of at least 32 bytes, newest first, separated by commas; openssl rand -base64 48 makes one',
  ),
)

const addressRanges = form((text) => {
  const ranges = text.split(',').map((range) => parseRange(range.trim()))
  return ranges.every((range) => range !== undefined) ? ranges : undefined
}, 'give addresses and ranges of them such as 10.0.0.0/8 or 2001:db8::7, separated by commas')

/** An `Origin` as browsers send it: lower case, Punycode, no default port, no wildcard. */
const origins = list((text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url?.origin === text && /^https?:\/\/(?:[\w.-]+|\[[0-9a-f:]+\])(?::\d+)?$/.test(text)
}, 'give origins such as https://app.example.com, separated by commas, as browsers send them: without a path or a wildcard')

export const Settings = z.object({
  HOST: string('127.0.0.1'),
  PORT: number(0, 65_535, 3000),
  WEB_CONCURRENCY: number(1, 128, 1),
  MAX_CONNECTIONS: z.optional(wholeNumber(1, 1_000_000)),
  SHUTDOWN_DELAY: time(0, '5s', '0s'),
  METRICS_HOST: string('127.0.0.1'),
  METRICS_PORT: z.optional(wholeNumber(0, 65_535)),
  DATABASE_URL: z.optional(databaseUrl),
  DATABASE_CA: z.optional(z.string()),
  DATABASE_POOL: number(1, 1000, 10),
  DATABASE_TIMEOUT: time(100, '10s'),
  DATABASE_PREPARE: flag,
  DATA_DIR: string('./data'),
  REDIS_URL: z.optional(credentialUrl(['redis:', 'rediss:'], 'redis://user:password@host:6379/0')),
  REDIS_PREFIX: z._default(
    text(
      (prefix) => /^[\w:.-]{1,64}$/.test(prefix),
      'give up to 64 letters, digits and : . _ -, such as staging:',
    ),
    'task-api:',
  ),
  UPSTASH_REDIS_REST_URL: z.optional(baseUrl('https://eu1-sure-fox-12345.upstash.io')),
  UPSTASH_REDIS_REST_TOKEN: z.optional(secret(headerValue)),
  CACHE: flag,
  JWT_SECRET: z.optional(jwtSecrets),
  JWT_ISSUER: string('task-api'),
  JWT_AUDIENCE: string('task-api'),
  ACCESS_TOKEN_TTL: time(1000, '1h'),
  SESSION_IDLE_TTL: z.optional(duration(1000, '30d')),
  SESSION_MAX_TTL: time(1000, '90d'),
  RATE_LIMIT_USER: rateLimit('user', '100/60s'),
  RATE_LIMIT_ANONYMOUS: rateLimit('anonymous', '20/60s'),
  RATE_LIMIT_TOKEN: rateLimit('token', '60/60s'),
  RATE_LIMIT_REGISTER: rateLimit('register', '20/1h'),
  RATE_LIMIT_LOGIN: rateLimit('login', '10/60s'),
  RATE_LIMIT_USERNAME: rateLimit('username', '100/60s'),
  TRUSTED_PROXY_HEADER: z.optional(
    text((name) => /^[A-Za-z0-9-]+$/.test(name), 'give the name of one header, such as X-Forwarded-For'),
  ),
  TRUSTED_PROXY_HOPS: number(1, 20, 1),
  TRUSTED_PROXY_ADDRESSES: z.optional(addressRanges),
  PUBLIC_URL: z.optional(baseUrl('https://tasks.example.com')),
  CORS_ORIGINS: z.optional(origins),
  REGISTRATION: z._default(z.enum(['open', 'closed'], 'give open or closed'), 'open'),
  NOTIFIER_ENDPOINT: z.optional(baseUrl('https://lambda.eu-west-1.amazonaws.com')),
  NOTIFIER_PORT: number(1, 65_535, 3001),
  NOTIFIER_FUNCTION: FunctionNameSetting,
  NOTIFIER_INVOCATION: z._default(
    z.enum(['RequestResponse', 'Event'], 'give RequestResponse or Event'),
    'RequestResponse',
  ),
  // The notifier's settings are checked here too, so that a wrong one stops the start early.
  ...NotificationSettings,
  ...EventSettings,
  AWS_REGION: AwsRegion,
  AWS_ACCESS_KEY_ID: z.optional(headerValue),
  AWS_SECRET_ACCESS_KEY: z.optional(secret(headerValue)),
  AWS_SESSION_TOKEN: z.optional(secret(headerValue)),
  BCRYPT_COST: number(4, 15, 10),
  LOG_LEVEL: LogLevelSetting,
})

export const settingNames = Object.keys(Settings.shape)
