/**
 * Schemas of settings, and the function that reads them from an environment. Uses zod/mini, which adds a
 * third of zod's size to the notifier's Worker; zod's own objects can have its schemas as members.
 */
import * as z from 'zod/mini'
import { parseFunctionName } from '../core/lambda-function-name.ts'
import { logLevels } from '../core/log.ts'
import { StartError } from '../core/start-error.ts'

const secrets = new WeakSet<z.core.$ZodType>()

/** Returns a schema whose values are never shown, not even wrong ones. It may be wrapped further. */
export function secret<S extends z.core.$ZodType>(schema: S): S {
  const copy = z.clone(schema)
  secrets.add(copy)
  return copy
}

function isSecret(schema: z.core.$ZodType): boolean {
  const { innerType, in: input } = schema._zod.def as { innerType?: z.core.$ZodType; in?: z.core.$ZodType }
  return secrets.has(schema) || [innerType, input].some((inner) => inner !== undefined && isSecret(inner))
}

/** A setting whose value is what `read` returns for its text. Undefined refuses the text with `advice`. */
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

/** Values separated by commas. */
export const list = (isRight: (item: string) => boolean, advice: string) =>
  form((text) => {
    const items = text.split(',').map((item) => item.trim())
    return items.every(isRight) ? items : undefined
  }, advice)

/** A setting whose value is its text. */
export const text = (isRight: (text: string) => boolean, advice: string) =>
  z.string().check(z.refine(isRight, advice))

export const wholeNumber = (minimum: number, maximum: number) =>
  form((text) => {
    const isOne = /^\d{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum
    return isOne ? Number(text) : undefined
  }, `give a whole number from ${minimum} to ${maximum}`)

export const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `10s`, `15m`, `1h`, `30d` in milliseconds; undefined for anything else. */
export function parseDuration(text: string) {
  const [, amount, unit] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? []
  return unit === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

export const duration = (minimumMs: number, example: string) =>
  form((text) => {
    const ms = parseDuration(text)
    return ms !== undefined && ms >= minimumMs && ms <= 366 * unitMs.d ? ms : undefined
  }, `give a time such as ${example}, from ${minimumMs} ms to 366d, in ms, s, m, h or d`)

const parseUrl = (text: string) => (URL.canParse(text) ? new URL(text) : undefined)

/** A URL that may have a user name and a password. */
export const credentialUrl = (protocols: string[], example: string) =>
  secret(
    text((text) => {
      const url = parseUrl(text)
      return url !== undefined && protocols.includes(url.protocol) && isDecodable(url)
    }, `give a URL such as ${example}`),
  )

/** A prefix of URLs for headers: the host in Punycode, the path percent-encoded, no final slash. */
export const baseUrl = (example: string) =>
  form((text) => {
    const url = parseUrl(text)
    const isBare = url !== undefined && !/[?#]/.test(text) && !url.username && !url.password
    return isBare && /^https?:$/.test(url.protocol) ? url.href.replace(/\/+$/, '') : undefined
  }, `give a URL such as ${example}, without a user name, query or fragment`)

/** Text that is sent in a header. Without this check, fetch would refuse it at the first request. */
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

/** Fetch refuses a URL with a user name or a password. The path may be a secret. */
export const webhookUrl = secret(
  text(isPlainUrl, 'give a URL such as https://hooks.example.com/T0/B0/abc, without a user name or password'),
)

export function isPlainUrl(text: string) {
  const url = parseUrl(text)
  return url !== undefined && /^https?:$/.test(url.protocol) && !url.username && !url.password
}

/** Checked in full where it is used: libpq accepts forms that are no URL, such as one without a host. */
export const databaseUrl = secret(
  text(
    (address) => /^postgres(ql)?:\/\//i.test(address),
    'give a URL such as postgres://user:password@host:5432/database',
  ),
)

export const ConcurrencySetting = z.prefault(wholeNumber(1, 1000), '100')

export const LogLevelSetting = z._default(z.enum(logLevels, `give one of ${logLevels.join(', ')}`), 'info')

/** An empty value counts as absent. @throws StartError with a line for each wrong setting */
export function readSettings<S extends z.core.$ZodObject>(
  schema: S,
  environment: Record<string, unknown>,
): z.output<S> {
  const { shape } = schema._zod.def
  const present = Object.fromEntries(
    Object.keys(shape).flatMap((name) => {
      const value = environment[name]
      return typeof value === 'string' && value !== '' ? [[name, value]] : []
    }),
  )
  const result = z.safeParse(schema, present)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => {
    const name = String(issue.path[0])
    const value = present[name]
    if (value === undefined) return `${name}: missing; ${issue.message}`
    const isHidden = isSecret(shape[name] ?? schema) || /:\/\/.*@/s.test(value)
    return `${name}: ${isHidden ? 'its value' : JSON.stringify(value)} is not usable; ${issue.message}`
  })
  throw new StartError(lines.join('\n'))
}
