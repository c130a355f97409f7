/** The settings of the notifier as a process, read from its environment. */
import * as z from 'zod/mini'
import { NotificationSettings, notificationsOf } from '../../src/config/notifications.ts'
import {
  AwsRegion,
  EventSettings,
  FunctionNameSetting,
  LogLevelSetting,
  readSettings,
  secret,
  wholeNumber,
} from '../../src/config/settings.ts'

const key = (example: string, ...more: z.core.$ZodCheck<string>[]) =>
  z
    .string(`give the key pair that callers sign with, such as ${example}`)
    .check(z.regex(/^[\x21-\x7e]{1,128}$/, 'give up to 128 visible ASCII characters'), ...more)

const Settings = z.object({
  NOTIFIER_HOST: z._default(z.string(), '127.0.0.1'),
  NOTIFIER_PORT: z.prefault(wholeNumber(0, 65_535), '3001'),
  NOTIFIER_FUNCTION: FunctionNameSetting,
  AWS_REGION: AwsRegion,
  AWS_ACCESS_KEY_ID: key('notifier', z.regex(/^[^/,]+$/, 'give one without / and ,')),
  AWS_SECRET_ACCESS_KEY: secret(key('what openssl rand -base64 30 prints')),
  ...NotificationSettings,
  ...EventSettings,
  LOG_LEVEL: LogLevelSetting,
})

/** @throws StartError with a line for each bad setting. */
export function readNotifierSettings(environment: Record<string, string | undefined>) {
  const settings = readSettings(Settings, environment)
  return { ...settings, notifications: notificationsOf(settings) }
}

/** The settings of the handler itself, wherever it runs. @throws StartError with a line for each bad one */
export const readNotifications = (environment: Record<string, string | undefined>) =>
  notificationsOf(readSettings(z.object(NotificationSettings), environment))
