import { expect, test } from 'vitest'
import { backoffMs } from '../../src/core/backoff.ts'

test('waits double up to the longest', () => {
  const waits = [0, 1, 2, 3, 4, 5000].map((failures) =>
    backoffMs(failures, { firstMs: 100, longestMs: 1000 }),
  )
  expect(waits).toEqual([100, 200, 400, 800, 1000, 1000])
})

test('jitter takes away a random share of the wait', () => {
  const waits = Array.from({ length: 200 }, () =>
    backoffMs(1, { firstMs: 500, longestMs: 9000, jitter: 0.5 }),
  )
  expect(Math.min(...waits)).toBeGreaterThanOrEqual(500)
  expect(Math.max(...waits)).toBeLessThanOrEqual(1000)
  expect(new Set(waits).size).toBeGreaterThan(1)
})
