import * as z from 'zod'

const form = /^(\d{4})-(\d\d)-(\d\d)(?:[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d))?$/

/** A date alone means its midnight in UTC; the output is RFC 3339 text as Postgres takes it. */
export const DateParameter = z.string().transform((value, context) => {
  const [, year, month, day, hour = '00', minute = '00', second = '00', , offset = 'Z'] =
    form.exec(value) ?? []
  const [offsetHour, offsetMinute] = offset.length > 1 ? [offset.slice(1, 3), offset.slice(4)] : ['00', '00']
  const midnight = new Date(`${year}-${month}-${day}T00:00:00Z`)
  const exists =
    Number(year) > 0 &&
    !Number.isNaN(midnight.getTime()) &&
    // 30 February rolls over into March.
    midnight.getUTCDate() === Number(day) &&
    Number(hour) < 24 &&
    Number(minute) < 60 &&
    // RFC 3339 has leap seconds, and Postgres takes them for the next minute's first.
    Number(second) <= 60 &&
    // As far as Postgres goes, which is further than any place on Earth.
    Number(offsetHour) < 16 &&
    Number(offsetMinute) < 60
  if (exists) return value.length === 10 ? `${value}T00:00:00Z` : value
  context.addIssue(
    'It must be a date such as 2026-11-22, or RFC 3339 such as 2026-11-22T07:04:05Z, with + sent as %2B.',
  )
  return z.NEVER
})
