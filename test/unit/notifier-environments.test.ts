/** Execution environments: concurrency and reuse; the init phase; recent invocations. */
import { expect, test } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { createEnvironments } from '../../workers/lambda/environments.ts'
import { createExecution } from '../../workers/lambda/execution.ts'
import type { LambdaFunction } from '../../workers/lambda/lambda-function.ts'

test('acquires up to the concurrency, reuses the last used one first, and a broken one never', () => {
  const environments = createEnvironments({ concurrency: 2, longestMs: 1000, now: () => 0 })
  const [first, second] = [environments.acquire(), environments.acquire()]
  if (!first || !second) throw new Error('none')
  expect(first.logStreamName).not.toBe(second.logStreamName)
  expect(environments.acquire()).toBeUndefined()
  expect(environments.free()).toBe(0)
  environments.release(first)
  environments.release(second)
  expect(environments.free()).toBe(2)
  expect(environments.acquire()).toBe(second)
  environments.release(second, { broken: true })
  expect(environments.acquire()).toBe(first)
  expect([first, second]).not.toContain(environments.acquire())
})

test('an environment whose invocation was dropped is replaced after the longest time', () => {
  let now = 0
  const environments = createEnvironments({ concurrency: 1, longestMs: 1000, now: () => now })
  const lost = environments.acquire()
  now = 1000
  expect(environments.acquire()).toBeUndefined()
  now = 1001
  const next = environments.acquire()
  expect(next).toBeDefined()
  expect(next).not.toBe(lost)
  // A late release changes nothing: the slot is taken.
  if (lost) environments.release(lost)
  expect(environments.acquire()).toBeUndefined()
})

const call = (requestId = 'id') =>
  ({ event: null, arn: 'arn', requestId, type: 'RequestResponse', attempt: 1 }) as const
const execute = (load: () => LambdaFunction) =>
  createExecution({
    load,
    functionName: 'task-notifier',
    concurrency: 1,
    timeoutMs: 1000,
    log: createLogger('silent'),
  })

test('the first invocation runs the init phase; if it throws, the next invocation repeats it', async () => {
  let inits = 0
  const execution = execute(() => {
    if (inits++ === 0) throw new TypeError('no settings')
    return async () => 'ready'
  })
  expect(inits).toBe(0)
  expect(await execution.run(call())).toMatchObject({ error: { type: 'TypeError', message: 'no settings' } })
  for (const _ of [1, 2]) expect(await execution.run(call())).toMatchObject({ payload: '"ready"' })
  expect(inits).toBe(2)
})

test('remembers the last hundred invocations, the newest first', async () => {
  const execution = execute(() => async () => {})
  for (let n = 1; n <= 103; n++) await execution.run(call(String(n)))
  const ids = execution.recent().map(({ request_id }) => request_id)
  expect(ids).toEqual(Array.from({ length: 100 }, (_, n) => String(103 - n)))
})
