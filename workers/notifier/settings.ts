/** Settings of the notifier's entries. */
import * as z from 'zod/mini'
import { NotificationSettings, notificationsOf } from '../../src/config/notifications.ts'
import {
  AwsRegion,
  ConcurrencySetting,
  FunctionNameSetting,
  LogLevelSetting,
  readSettings,
  secret,
} from '../../src/config/settings.ts'

const key = (example: string, ...more: z.core.$ZodCheck<string>[]) =>
  z
    .string(`give the key pair that callers sign with, such as ${example}`)
    .check(z.regex(/^[\x21-\x7e]{1,128}$/, 'give up to 128 visible ASCII characters'), ...more)

/** Settings of every host of the handler. */
export const HostSettings = {
  NOTIFIER_CONCURRENCY: ConcurrencySetting,
  NOTIFIER_FUNCTION: FunctionNameSetting,
  AWS_REGION: AwsRegion,
  AWS_ACCESS_KEY_ID: key('notifier', z.regex(/^[^/,]+$/, 'give one without / and ,')),
  AWS_SECRET_ACCESS_KEY: secret(key('what openssl rand -base64 30 prints')),
  ...NotificationSettings,
  LOG_LEVEL: LogLevelSetting,
}

/** @throws StartError with a line for each wrong setting */
export function readWorkerSettings(environment: Record<string, string | undefined>) {
  const settings = readSettings(z.object(HostSettings), environment)
  return { ...settings, notifications: notificationsOf(settings) }
}

/** The settings of the handler itself, on any host. @throws StartError with a line for each wrong setting */
export const readNotifications = (environment: Record<string, string | undefined>) =>
  notificationsOf(readSettings(z.object(NotificationSettings), environment))
