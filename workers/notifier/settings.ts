/** The settings of the notifier as a process, read from its environment. */
import * as z from 'zod'
import {
  AwsRegion,
  EventSettings,
  FunctionNameSetting,
  LogLevelSetting,
  readSettings,
  WebhookUrlSetting,
  wholeNumber,
} from '../../src/settings.ts'

const key = (example: string) =>
  z
    .string(`give the key pair that callers sign with, such as ${example}`)
    .regex(/^[\x21-\x7e]{1,128}$/, 'give up to 128 visible ASCII characters')

const Settings = z.object({
  NOTIFIER_HOST: z.string().default('127.0.0.1'),
  NOTIFIER_PORT: wholeNumber(0, 65_535).prefault('3001'),
  NOTIFIER_FUNCTION: FunctionNameSetting,
  AWS_REGION: AwsRegion,
  AWS_ACCESS_KEY_ID: key('notifier').regex(/^[^/,]+$/, 'give one without / and ,'),
  AWS_SECRET_ACCESS_KEY: key('what openssl rand -base64 30 prints'),
  NOTIFY_WEBHOOK_URL: WebhookUrlSetting,
  ...EventSettings,
  LOG_LEVEL: LogLevelSetting,
})

/** @throws StartError with a line for each bad setting. */
export const readNotifierSettings = (environment: Record<string, string | undefined>) =>
  readSettings(Settings, environment)

/** The one setting of the handler itself, wherever it runs. @throws StartError when it is none */
export const readWebhookUrl = (environment: Record<string, string | undefined>) =>
  readSettings(Settings.pick({ NOTIFY_WEBHOOK_URL: true }), environment).NOTIFY_WEBHOOK_URL
