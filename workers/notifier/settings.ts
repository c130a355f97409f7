/** The settings of the notifier as a process, read from its environment. */
import * as z from 'zod'
import { logLevels } from '../../src/log.ts'
import { StartError } from '../../src/start-error.ts'
import { parseFunctionName } from './function-name.ts'
import { parseWebhookUrl } from './notify.ts'

const key = (example: string) =>
  z
    .string(`give the key pair that callers sign with, such as ${example}`)
    .regex(/^[\x21-\x7e]{1,128}$/, 'give up to 128 visible ASCII characters')

const Settings = z.object({
  NOTIFIER_HOST: z.string().default('127.0.0.1'),
  NOTIFIER_PORT: z
    .string()
    .refine((text) => /^\d{1,5}$/.test(text) && Number(text) <= 65_535, 'give a whole number from 0 to 65535')
    .transform(Number)
    .prefault('3001'),
  NOTIFIER_FUNCTION: z
    .string()
    .refine((text) => parseFunctionName(text) !== undefined, 'give the name or the ARN of a Lambda function')
    .default('task-notifier'),
  AWS_REGION: z
    .string()
    .regex(/^[a-z0-9-]+$/, 'give a region such as eu-west-1')
    .default('us-east-1'),
  AWS_ACCESS_KEY_ID: key('notifier').regex(/^[^/,]+$/, 'give one without / and ,'),
  AWS_SECRET_ACCESS_KEY: key('what openssl rand -base64 30 prints'),
  NOTIFY_WEBHOOK_URL: z
    .string()
    .transform((text, context) => {
      try {
        return parseWebhookUrl(text).href
      } catch {
        context.addIssue(
          'give a URL such as https://hooks.example.com/T0/B0/abc, without a user name or password',
        )
        return z.NEVER
      }
    })
    .optional(),
  LOG_LEVEL: z.enum(logLevels, `give one of ${logLevels.join(', ')}`).default('info'),
})

/** Never shown, not even when they are wrong. */
const secrets = new Set(['AWS_SECRET_ACCESS_KEY', 'NOTIFY_WEBHOOK_URL'])

/**
 * An empty value counts as absent.
 * @throws StartError with a line for each bad setting: its name, what is wrong, what would be right.
 */
export function readNotifierSettings(environment: Record<string, string | undefined>) {
  const present = Object.fromEntries(
    Object.keys(Settings.shape).map((name) => [name, environment[name] || undefined]),
  )
  const result = Settings.safeParse(present)
  if (result.success) return result.data
  const lines = result.error.issues.map((issue) => {
    const name = String(issue.path[0])
    const value = present[name]
    const shown = secrets.has(name) ? 'its value' : JSON.stringify(value)
    return value === undefined
      ? `${name}: missing; ${issue.message}`
      : `${name}: ${shown} is not usable; ${issue.message}`
  })
  throw new StartError(lines.join('\n'))
}
