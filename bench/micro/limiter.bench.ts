import { bench, describe } from 'vitest'
import { memoryCounters } from '../../src/runtime/store/memory-counters.ts'
import { createLimiter } from '../../src/store/limiter.ts'

const limiter = createLimiter({ counters: memoryCounters() })
const rule = { name: 'user', limit: 9_999_999, windowMs: 60_000 } as const
const used = { name: 'login', limit: 1, windowMs: 86_400_000 } as const
await limiter.take(used, 'one')
let next = 0

describe('limiter in memory', () => {
  bench('allowed, 100 users in turn', async () => {
    await limiter.take(rule, `user ${next++ % 100}`)
  })
  bench('refused', async () => {
    await limiter.take(used, 'one')
  })
})
