/** Times of the database, which travel as seconds since the epoch. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { toRfc3339 } from '../../src/runtime/postgres/postgres.ts'

/** From the year 1 to the year 9999. */
const seconds = fc.integer({ min: -62_135_596_800, max: 253_402_300_799 })
const microseconds = fc.integer({ min: 0, max: 999_999 })

test('a time is the one that Date writes, rounded down to milliseconds', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(seconds, microseconds)), (times) => {
      for (const [whole, rest] of times) {
        // As Postgres writes a numeric: the fraction of a negative number counts downwards.
        const isNegative = whole < 0 && rest > 0
        const text = `${isNegative ? whole + 1 || '-0' : whole}.${String(isNegative ? 1e6 - rest : rest).padStart(6, '0')}`
        const date = new Date(whole * 1000 + Math.floor(rest / 1000))
        expect(toRfc3339(text)).toBe(date.toISOString())
      }
    }),
  )
})

test('a time without an end is refused', () => {
  for (const text of ['Infinity', '-Infinity', 'NaN']) expect(() => toRfc3339(text)).toThrow(RangeError)
})
