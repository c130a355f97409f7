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

export const LogLevelSetting = z.enum(logLevels, `give one of ${logLevels.join(', ')}`).default('info')

/** Their values are never shown, not even wrong ones. */
const secrets = new Set([
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'DATABASE_URL',
  'JWT_SECRET',
  'NOTIFY_WEBHOOK_URL',
  'REDIS_URL',
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
