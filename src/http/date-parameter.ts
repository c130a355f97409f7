import * as z from 'zod'

const form = /^(\d{4}-\d\d-\d\d)(?:[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d)))?$/

/** Times beyond are set to these, which JavaScript and Postgres can both write. */
const earliest = Date.parse('0001-01-01T00:00:00.000Z')
const latest = Date.parse('9999-12-31T23:59:59.999Z')

/**
 * RFC 3339, or a date alone, which means its midnight in UTC. The output is the same instant as text for
 * Postgres, in UTC and rounded up to microseconds, so that comparisons with stored times stay right.
 */
export const DateParameter = z
  .string()
  .transform((value, context) => {
    const instant = read(value)
    if (instant !== undefined) return instant
    context.addIssue(
      'It must be a date such as 2026-11-22, or RFC 3339 such as 2026-11-22T07:04:05Z, with + sent as %2B.',
    )
    return z.NEVER
  })
  // A pattern, since validators of the format `date-time` refuse leap seconds, which RFC 3339 allows.
  .meta({ pattern: form.source })

function read(value: string): string | undefined {
  const [, day = '', hour = '0', minute = '0', second = '0', fraction = '', sign, offsetHour, offsetMinute] =
    form.exec(value) ?? []
  const midnight = new Date(`${day}T00:00:00Z`)
  const exists =
    // 30 February rolls over into March.
    !Number.isNaN(midnight.getTime()) &&
    midnight.toISOString().startsWith(day) &&
    midnight.getTime() >= earliest &&
    isTime(hour, minute) &&
    // A leap second counts as the next minute's first second, as in Postgres.
    Number(second) <= 60 &&
    isTime(offsetHour, offsetMinute)
  if (!exists) return undefined
  const offset = (sign === '-' ? -1 : 1) * minutes(offsetHour, offsetMinute)
  const microseconds = Number(fraction.slice(0, 6).padEnd(6, '0')) + (/[1-9]/.test(fraction.slice(6)) ? 1 : 0)
  const ms =
    midnight.getTime() +
    (minutes(hour, minute) - offset) * 60_000 +
    Number(second) * 1000 +
    Math.floor(microseconds / 1000)
  const told = new Date(Math.min(Math.max(ms, earliest), latest)).toISOString()
  return told.replace('Z', `${String(microseconds % 1000).padStart(3, '0')}Z`)
}

const isTime = (hour = '0', minute = '0') => Number(hour) < 24 && Number(minute) < 60
const minutes = (hour = '0', minute = '0') => Number(hour) * 60 + Number(minute)
