import { expect, test } from 'vitest'
import { memoryEntries } from '../../src/runtime/store/memory-entries.ts'

const entry = (key: string, ttlMs: number, value = 'x'.repeat(100)) => ({ key, value, ttlMs })

test('new entries drop expired ones, also behind entries that live longer', async () => {
  let time = 0
  const entries = memoryEntries({ now: () => time })
  for (let i = 0; i < 1000; i++)
    await entries.set([entry(`version ${i}`, 600_000, ''), entry(`list ${i}`, 30_000)])
  const full = entries.size()
  time = 60_000
  for (let i = 0; i < 1000; i++) await entries.set([entry(`new ${i}`, 30_000, '')])
  expect(full).toBeGreaterThan(100_000)
  expect(entries.size()).toBeLessThan(40_000)
  const found = await entries.read({ fresh: entry('version 7', 1, 'fresh'), key: 'list 7' })
  expect(found).toEqual({ version: '', text: null })
})

test('the oldest entries are evicted beyond the maximum size', async () => {
  const entries = memoryEntries({ maxSize: 1000 })
  for (let i = 0; i < 100; i++) {
    await entries.set([entry(`list ${i}`, 30_000)])
    expect(entries.size()).toBeLessThanOrEqual(1000)
  }
  const found = async (key: string) =>
    (await entries.read({ fresh: entry('version', 1000, ''), key })).text !== null
  expect([await found('list 0'), await found('list 99')]).toEqual([false, true])
})
