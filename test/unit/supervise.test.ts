import { expect, test, vi } from 'vitest'
import { supervise } from '../../src/runtime/process/supervise.ts'

const gone = { ended: Promise.resolve({ code: 1 }), end: async () => {} }

test('launches that fail late are retried ever later', async ({ onTestFinished }) => {
  let now = 0
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now)
  onTestFinished(() => clock.mockRestore())
  const delays: number[] = []
  const { stop } = supervise(gone, {
    async launch() {
      now += 15_000
      throw new Error('not ready in time')
    },
    onEnd: ({ restart_in_ms }) => void delays.push(restart_in_ms),
  })
  await expect.poll(() => delays.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(4)
  await stop()
  expect(delays.slice(0, 4).toSorted((a, b) => a - b)).toEqual(delays.slice(0, 4))
  expect(delays[3]).toBeGreaterThan(2 * (delays[0] ?? 0))
})

test('a child that lived long is restarted at once', async ({ onTestFinished }) => {
  let now = 0
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now)
  onTestFinished(() => clock.mockRestore())
  const delays: number[] = []
  const { stop } = supervise(gone, {
    async launch() {
      const ended = new Promise<Record<string, unknown>>((resolve) =>
        setTimeout(() => {
          now += 10_000
          resolve({})
        }, 5),
      )
      return { ended, end: async () => {} }
    },
    onEnd: ({ restart_in_ms }) => void delays.push(restart_in_ms),
  })
  await expect.poll(() => delays.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(4)
  await stop()
  expect(Math.max(...delays.slice(1))).toBeLessThanOrEqual(100)
})
