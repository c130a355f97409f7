import { expect, type TestContext, test, vi } from 'vitest'
import { supervise } from '../../src/runtime/process/supervise.ts'

/** Supervises a child that has ended, with `launch` on a clock of its own, until four restarts are due. */
async function restartDelays(
  { onTestFinished }: TestContext,
  launch: (pass: (ms: number) => void) => Promise<{ ended: Promise<Record<string, unknown>> }>,
) {
  let now = 0
  const clock = vi.spyOn(Date, 'now').mockImplementation(() => now)
  onTestFinished(() => clock.mockRestore())
  const end = async () => {}
  const delays: number[] = []
  const { stop } = supervise(
    { ended: Promise.resolve({ code: 1 }), end },
    {
      async launch() {
        const { ended } = await launch((ms) => {
          now += ms
        })
        return { ended, end }
      },
      onEnd: ({ restart_in_ms }) => void delays.push(restart_in_ms),
    },
  )
  await expect.poll(() => delays.length, { timeout: 60_000 }).toBeGreaterThanOrEqual(4)
  await stop()
  return delays.slice(0, 4)
}

test('launches that fail late are retried ever later', async (context) => {
  const delays = await restartDelays(context, async (pass) => {
    pass(15_000)
    throw new Error('not ready in time')
  })
  expect(delays).toEqual([100, 200, 400, 800])
})

test('a child that lived long is restarted at once', async (context) => {
  const delays = await restartDelays(context, async (pass) => ({
    ended: new Promise((resolve) =>
      setTimeout(() => {
        pass(10_000)
        resolve({})
      }, 5),
    ),
  }))
  expect(delays).toEqual([100, 100, 100, 100])
})
