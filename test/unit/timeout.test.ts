import { expect, test } from 'vitest'
import { settleWithin, TimeoutError, withTimeout } from '../../src/core/timeout.ts'

const never = new Promise<never>(() => {})
const failure = new Error('failed first')

test('withTimeout passes on the outcome of work that ends in time, and rejects otherwise', async () => {
  expect(await withTimeout(60_000, Promise.resolve(undefined))).toBe(undefined)
  await expect(withTimeout(60_000, Promise.reject(failure))).rejects.toBe(failure)
  await expect(withTimeout(1, never)).rejects.toEqual(new TimeoutError('no answer within 1 ms'))
})

test('settleWithin resolves with undefined when the time is over', async () => {
  expect(await settleWithin(60_000, Promise.resolve(7))).toBe(7)
  await expect(settleWithin(60_000, Promise.reject(failure))).rejects.toBe(failure)
  expect(await settleWithin(1, never)).toBe(undefined)
})
