import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { TimeoutError } from '../../src/core/timeout.ts'
import { timerEach, timerForAll } from '../../src/store/time-limit.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

/** Work that ends when the test says so. */
function createWork() {
  let end: { resolve: (answer: string) => void; reject: (error: Error) => void } | undefined
  const work = new Promise<string>((resolve, reject) => {
    end = { resolve, reject }
  })
  if (!end) throw new Error('the executor has not run')
  return { work, ...end }
}

describe.each([
  ['a timer each', timerEach],
  ['one timer for all', timerForAll],
])('%s', (_, limit) => {
  test('passes answers and failures on, and leaves no timer', async () => {
    const inTime = limit(1000)
    const [first, second] = [createWork(), createWork()]
    const outcomes = Promise.allSettled([inTime(first.work), inTime(second.work)])
    second.reject(new Error('refused'))
    first.resolve('here')
    expect(await outcomes).toMatchObject([
      { status: 'fulfilled', value: 'here' },
      { status: 'rejected', reason: { message: 'refused' } },
    ])
    await vi.advanceTimersByTimeAsync(1100)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('rejects what takes too long, each by its own time, whichever is answered before', async () => {
    const inTime = limit(1000)
    const late: string[] = []
    const ask = (name: string) => {
      const { work, resolve } = createWork()
      inTime(work).catch((error: unknown) => {
        expect(error).toBeInstanceOf(TimeoutError)
        late.push(name)
      })
      return resolve
    }
    const answerFirst = ask('first')
    const answerSecond = ask('second')
    await vi.advanceTimersByTimeAsync(500)
    ask('third')
    const answerFourth = ask('fourth')
    answerSecond('in time')
    await vi.advanceTimersByTimeAsync(499)
    expect(late).toEqual([])
    await vi.advanceTimersByTimeAsync(101)
    expect(late).toEqual(['first'])
    // A late answer is ignored, and takes no other question out.
    answerFirst('too late')
    answerFourth('in time')
    await vi.advanceTimersByTimeAsync(500)
    expect(late).toEqual(['first', 'third'])
    expect(vi.getTimerCount()).toBe(0)
  })
})
