/** The settings of the notifier as a process, read from its environment. */
import * as z from 'zod'
import { AwsRegion, LogLevelSetting, readSettings, wholeNumber } from '../../src/settings.ts'
import { parseFunctionName } from './function-name.ts'
import { parseWebhookUrl } from './notify.ts'

const key = (example: string) =>
  z
    .string(`give the key pair that callers sign with, such as ${example}`)
    .regex(/^[\x21-\x7e]{1,128}$/, 'give up to 128 visible ASCII characters')

const Settings = z.object({
  NOTIFIER_HOST: z.string().default('127.0.0.1'),
  NOTIFIER_PORT: wholeNumber(0, 65_535).prefault('3001'),
  NOTIFIER_FUNCTION: z
    .string()
    .refine((text) => parseFunctionName(text) !== undefined, 'give the name or the ARN of a Lambda function')
    .default('task-notifier'),
  AWS_REGION: AwsRegion,
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
  LOG_LEVEL: LogLevelSetting,
})

/** @throws StartError with a line for each bad setting. */
export const readNotifierSettings = (environment: Record<string, string | undefined>) =>
  readSettings(Settings, environment)
