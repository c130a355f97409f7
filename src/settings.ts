/** Reads settings out of an environment: their forms, shared by whatever has settings, and how a bad one is told. */
import * as z from 'zod'
import { parseFunctionName } from './events/function-name.ts'
import { logLevels } from './log.ts'
import { StartError } from './start-error.ts'

export function wholeNumber(minimum: number, maximum: number) {
  return z.string().transform((text, context) => {
    if (/^\d{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum) return Number(text)
    context.addIssue(`give a whole number from ${minimum} to ${maximum}`)
    return z.NEVER
  })
}

export const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `10s`, `15m`, `1h`, `30d` in milliseconds; undefined for anything else. */
function parseDuration(text: string) {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? []
  return unit === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

/** `10s`, `15m`, `1h`, `30d` in milliseconds. */
export function duration(minimumMs: number, example: string) {
  return z.string().transform((text, context) => {
    const ms = parseDuration(text)
    if (ms !== undefined && ms >= minimumMs && ms <= 366 * unitMs.d) return ms
    context.addIssue(`give a time such as ${example}, from ${minimumMs} ms to 366d, in ms, s, m, h or d`)
    return z.NEVER
  })
}

export function url(protocols: string[], example: string) {
  return z.string().refine((text) => {
    const parsed = URL.canParse(text) ? new URL(text) : undefined
    return parsed !== undefined && protocols.includes(parsed.protocol) && isDecodable(parsed)
  }, `give a URL such as ${example}`)
}

/** A % in a password must be written %25. */
function isDecodable({ username, password, pathname }: URL) {
  try {
    return [username, password, pathname].every((part) => decodeURIComponent(part) !== undefined)
  } catch {
    return false
  }
}

export const AwsRegion = z
  .string()
  .regex(/^[a-z0-9-]+$/, 'give a region such as eu-west-1')
  .default('us-east-1')

export const FunctionNameSetting = z
  .string()
  .refine((text) => parseFunctionName(text) !== undefined, 'give the name or the ARN of a Lambda function')
  .default('task-notifier')

/** What `fetch` takes: it refuses a URL with a user name or a password in it. */
export const WebhookUrlSetting = z
  .string()
  .refine((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    return url !== undefined && /^https?:$/.test(url.protocol) && !url.username && !url.password
  }, 'give a URL such as https://hooks.example.com/T0/B0/abc, without a user name or password')
  .optional()

const delays = z.string().transform((text, context) => {
  const list = text === 'none' ? [] : text.split(',').map((delay) => parseDuration(delay.trim()))
  if (list.length <= 10 && list.every((ms) => ms !== undefined && ms <= unitMs.d)) return list as number[]
  context.addIssue('give up to 10 times such as 1m,2m, each of at most a day, or none')
  return z.NEVER
})

const destination = z.string().refine((text) => {
  if (!/^https?:/.test(text)) return /^\.{0,2}\//.test(text) && !text.endsWith('/')
  const url = URL.canParse(text) ? new URL(text) : undefined
  return url !== undefined && !url.username && !url.password
}, 'give a URL such as https://example.com/failed, without a user name or password, or a path such as ./data/failed-events.jsonl')

export const databaseUrl = url(['postgres:', 'postgresql:'], 'postgres://user:password@host:5432/database')

/** How the notifier takes Events: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
export const EventSettings = {
  NOTIFIER_DATABASE_URL: databaseUrl.optional(),
  NOTIFIER_CONCURRENCY: wholeNumber(1, 1000).prefault('100'),
  NOTIFIER_RETRY_DELAYS: delays.prefault('1m,2m'),
  NOTIFIER_MAXIMUM_EVENT_AGE: duration(1000, '6h').prefault('6h'),
  NOTIFIER_ON_FAILURE: destination.optional(),
}

export const LogLevelSetting = z.enum(logLevels, `give one of ${logLevels.join(', ')}`).default('info')

/** Their values are never shown, not even wrong ones. */
const secrets = new Set([
  'AWS_CONTAINER_AUTHORIZATION_TOKEN',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'DATABASE_URL',
  'JWT_SECRET',
  'NOTIFIER_DATABASE_URL',
  'NOTIFIER_ON_FAILURE',
  'NOTIFY_WEBHOOK_SECRET',
  'NOTIFY_WEBHOOK_URL',
  'REDIS_URL',
  'SMTP_URL',
  'UPSTASH_REDIS_REST_TOKEN',
])

/**
 * An empty value counts as absent.
 * @throws StartError with a line for each bad setting: its name, what is wrong, what would be right.
 */
export function readSettings<S extends z.ZodObject>(
  schema: S,
  environment: Record<string, unknown>,
): z.output<S> {
  const present = Object.fromEntries(
    Object.keys(schema.shape).flatMap((name) => {
      const value = environment[name]
      return typeof value === 'string' && value !== '' ? [[name, value]] : []
    }),
  )
  const result = schema.safeParse(present)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => {
    const name = String(issue.path[0])
    const wrong = !(name in present)
      ? 'missing'
      : `${secrets.has(name) ? 'its value' : JSON.stringify(present[name])} is not usable`
    return `${name}: ${wrong}; ${issue.message}`
  })
  throw new StartError(lines.join('\n'))
}
