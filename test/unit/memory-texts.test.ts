import { expect, test } from 'vitest'
import { memoryTexts } from '../../src/runtime/store/memory-entries.ts'

const entry = (key: string, ttlMs: number, value = 'x'.repeat(100)) => ({ key, value, ttlMs })

test('what has expired goes as new answers come, also behind what lives longer', async () => {
  let time = 0
  const texts = memoryTexts({ now: () => time })
  for (let i = 0; i < 1000; i++)
    await texts.put([entry(`stamp ${i}`, 600_000, ''), entry(`list ${i}`, 30_000)])
  const full = texts.size()
  time = 60_000
  for (let i = 0; i < 1000; i++) await texts.put([entry(`new ${i}`, 30_000, '')])
  expect(full).toBeGreaterThan(100_000)
  expect(texts.size()).toBeLessThan(40_000)
  expect(await texts.look(entry('stamp 7', 1, 'fresh'), 'list 7')).toEqual({ stamp: '', text: null })
})

test('it holds no more than it may: the oldest go first', async () => {
  const texts = memoryTexts({ maximumSize: 1000 })
  for (let i = 0; i < 100; i++) {
    await texts.put([entry(`list ${i}`, 30_000)])
    expect(texts.size()).toBeLessThanOrEqual(1000)
  }
  const found = async (key: string) => (await texts.look(entry('stamp', 1000, ''), key)).text !== null
  expect([await found('list 0'), await found('list 99')]).toEqual([false, true])
})
