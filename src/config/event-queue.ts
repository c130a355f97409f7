/** Settings of the notifier's queue of Events, which only Node has. */
import * as z from 'zod/mini'
import {
  ConcurrencySetting,
  databaseUrl,
  duration,
  form,
  isPlainUrl,
  parseDuration,
  secret,
  text,
  unitMs,
} from './settings.ts'

const delays = form((list) => {
  const delays = list === 'none' ? [] : list.split(',').map((delay) => parseDuration(delay.trim()))
  const areRight = delays.length <= 10 && delays.every((ms) => ms !== undefined && ms <= unitMs.d)
  return areRight ? (delays as number[]) : undefined
}, 'give up to 10 times such as 1m,2m, each of at most a day, or none')

const destination = secret(
  text(
    (target) =>
      /^https?:/.test(target) ? isPlainUrl(target) : /^\.{0,2}\//.test(target) && !target.endsWith('/'),
    'give a URL such as https://example.com/failed, without a user name or password, or a path such as ./data/failed-events.jsonl',
  ),
)

/** https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html */
export const EventSettings = {
  NOTIFIER_DATABASE_URL: z.optional(databaseUrl),
  NOTIFIER_CONCURRENCY: ConcurrencySetting,
  NOTIFIER_RETRY_DELAYS: z.prefault(delays, '1m,2m'),
  NOTIFIER_MAXIMUM_EVENT_AGE: z.prefault(duration(1000, '6h'), '6h'),
  NOTIFIER_ON_FAILURE: z.optional(destination),
}
