/**
 * Reads settings out of an environment: their forms, shared by whatever has settings, and how a bad one is told. By zod/mini, a
 * third of zod's size in the notifier's Worker; its schemas are parts of zod's objects as well.
 */
import * as z from 'zod/mini'
import { parseFunctionName } from '../core/lambda-function-name.ts'
import { logLevels } from '../core/log.ts'
import { StartError } from '../core/start-error.ts'

/** A setting in a form of its own: what `read` makes of its text; where that is undefined it is refused with the advice. */
export const form = <T>(read: (text: string) => T | undefined, advice: string) =>
  z.pipe(
    z.string(),
    z.transform((text: string, payload): T => {
      const value = read(text)
      if (value !== undefined) return value
      payload.issues.push({ code: 'custom', message: advice, input: text })
      return z.NEVER
    }),
  )

/** Text that is taken as it is when it is right. */
export const text = (isRight: (text: string) => boolean, advice: string) =>
  z.string().check(z.refine(isRight, advice))

export const wholeNumber = (minimum: number, maximum: number) =>
  form((text) => {
    const isOne = /^\d{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum
    return isOne ? Number(text) : undefined
  }, `give a whole number from ${minimum} to ${maximum}`)

export const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `10s`, `15m`, `1h`, `30d` in milliseconds; undefined for anything else. */
function parseDuration(text: string) {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? []
  return unit === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

/** `10s`, `15m`, `1h`, `30d` in milliseconds. */
export const duration = (minimumMs: number, example: string) =>
  form((text) => {
    const ms = parseDuration(text)
    return ms !== undefined && ms >= minimumMs && ms <= 366 * unitMs.d ? ms : undefined
  }, `give a time such as ${example}, from ${minimumMs} ms to 366d, in ms, s, m, h or d`)

export const url = (protocols: string[], example: string) =>
  text((url) => {
    const parsed = URL.canParse(url) ? new URL(url) : undefined
    return parsed !== undefined && protocols.includes(parsed.protocol) && isDecodable(parsed)
  }, `give a URL such as ${example}`)

/**
 * A prefix of URLs, in the form that headers can carry: the host in Punycode, the path percent-encoded, without a
 * slash at the end.
 */
export const baseUrl = (example: string) =>
  form((text) => {
    const url = URL.canParse(text) ? new URL(text) : undefined
    const isBare = url !== undefined && !/[?#]/.test(text) && !url.username && !url.password
    return isBare && /^https?:$/.test(url.protocol) ? url.href.replace(/\/+$/, '') : undefined
  }, `give a URL such as ${example}, without a user name, query or fragment`)

/** Text that is sent in a header: fetch refuses any other at the first request. */
export const headerValue = text(
  (value) => /^[\x21-\x7e]+$/.test(value),
  'give visible ASCII characters without blanks or line breaks',
)

/** A % in a password must be written %25. */
function isDecodable({ username, password, pathname }: URL) {
  try {
    return [username, password, pathname].every((part) => decodeURIComponent(part) !== undefined)
  } catch {
    return false
  }
}

export const AwsRegion = z._default(
  text((region) => /^[a-z0-9-]+$/.test(region), 'give a region such as eu-west-1'),
  'us-east-1',
)

export const FunctionNameSetting = z._default(
  text((name) => parseFunctionName(name) !== undefined, 'give the name or the ARN of a Lambda function'),
  'task-notifier',
)

/** What `fetch` takes: it refuses a URL with a user name or a password in it. */
export const WebhookUrlSetting = z.optional(
  text((webhook) => {
    const url = URL.canParse(webhook) ? new URL(webhook) : undefined
    return url !== undefined && /^https?:$/.test(url.protocol) && !url.username && !url.password
  }, 'give a URL such as https://hooks.example.com/T0/B0/abc, without a user name or password'),
)

const delays = form((list) => {
  const delays = list === 'none' ? [] : list.split(',').map((delay) => parseDuration(delay.trim()))
  const areRight = delays.length <= 10 && delays.every((ms) => ms !== undefined && ms <= unitMs.d)
  return areRight ? (delays as number[]) : undefined
}, 'give up to 10 times such as 1m,2m, each of at most a day, or none')

const destination = text((place) => {
  if (!/^https?:/.test(place)) return /^\.{0,2}\//.test(place) && !place.endsWith('/')
  const url = URL.canParse(place) ? new URL(place) : undefined
  return url !== undefined && !url.username && !url.password
}, 'give a URL such as https://example.com/failed, without a user name or password, or a path such as ./data/failed-events.jsonl')

/** Which libpq takes and the web does not, such as one without a host: it is read where it is used. */
export const databaseUrl = text(
  (address) => /^postgres(ql)?:\/\//i.test(address),
  'give a URL such as postgres://user:password@host:5432/database',
)

/** How the notifier takes Events: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
export const EventSettings = {
  NOTIFIER_DATABASE_URL: z.optional(databaseUrl),
  NOTIFIER_CONCURRENCY: z.prefault(wholeNumber(1, 1000), '100'),
  NOTIFIER_RETRY_DELAYS: z.prefault(delays, '1m,2m'),
  NOTIFIER_MAXIMUM_EVENT_AGE: z.prefault(duration(1000, '6h'), '6h'),
  NOTIFIER_ON_FAILURE: z.optional(destination),
}

export const LogLevelSetting = z._default(z.enum(logLevels, `give one of ${logLevels.join(', ')}`), 'info')

/** Their values are never shown, not even wrong ones. */
const secrets = new Set([
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
export function readSettings<S extends z.core.$ZodObject>(
  schema: S,
  environment: Record<string, unknown>,
): z.output<S> {
  const present = Object.fromEntries(
    Object.keys(schema._zod.def.shape).flatMap((name) => {
      const value = environment[name]
      return typeof value === 'string' && value !== '' ? [[name, value]] : []
    }),
  )
  const result = z.safeParse(schema, present)
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
