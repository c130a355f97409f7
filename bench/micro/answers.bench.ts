import { bench, describe } from 'vitest'
import { invalidInput, notFound } from '../../src/core/problem.ts'
import type { Exchange } from '../../src/http/deps.ts'
import { answerProblem } from '../../src/http/problem-answer.ts'
import { setRateLimitHeaders } from '../../src/http/rate-limit-headers.ts'
import { memoryCounters } from '../../src/runtime/store/memory-counters.ts'
import { createLimiter } from '../../src/store/limiter.ts'

/** The members that a problem's answer reads. */
const exchange = { deps: {}, requestId: '0b8d1f0e-6f0c-4f3c-9d0a-3a8a6c1f2b4d' } as Exchange
// Vitest only prints NaN for a benchmark that throws.
await answerProblem(notFound(), exchange)
const errors = [
  { pointer: '/title', detail: 'It is required.' },
  { pointer: '/status', detail: 'Give pending or completed.' },
]
const now = Date.now()
const rule = { name: 'user', limit: 100, windowMs: 60_000 } as const
const verdict = await createLimiter({ counters: memoryCounters() }).take(rule, 'one')

describe('problem document', () => {
  bench('404', async () => {
    await answerProblem(notFound(), exchange)
  })
  bench('400 with two faults', async () => {
    await answerProblem(invalidInput(errors), exchange)
  })
})

describe('response headers', () => {
  bench('of a rate limit', () => {
    setRateLimitHeaders({}, verdict, now)
  })
})
