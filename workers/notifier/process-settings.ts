/** Settings of the notifier as a process, which listens and has a queue of Events. */
import * as z from 'zod/mini'
import { EventSettings } from '../../src/config/event-queue.ts'
import { notificationsOf } from '../../src/config/notifications.ts'
import { readSettings, wholeNumber } from '../../src/config/settings.ts'
import { HostSettings } from './settings.ts'

const Settings = z.object({
  NOTIFIER_HOST: z._default(z.string(), '127.0.0.1'),
  NOTIFIER_PORT: z.prefault(wholeNumber(0, 65_535), '3001'),
  ...HostSettings,
  ...EventSettings,
})

/** @throws StartError with a line for each wrong setting */
export function readProcessSettings(environment: Record<string, string | undefined>) {
  const settings = readSettings(Settings, environment)
  return { ...settings, notifications: notificationsOf(settings) }
}
