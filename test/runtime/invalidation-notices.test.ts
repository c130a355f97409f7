/** Invalidation notices to the cache in a process's own memory. */
import postgres from 'postgres'
import { expect, test, vi } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { createStack } from '../../src/runtime/process/shutdown.ts'
import {
  publishInvalidations,
  subscribeToInvalidations,
} from '../../src/runtime/store/invalidation-notices.ts'
import { startTestPostgres } from '../support/postgres.ts'

const patience = { timeout: 60_000, interval: 50 }

test('the cache is cleared when notices may have been missed', async () => {
  const server = await startTestPostgres()
  const stack = createStack(createLogger('silent'))
  stack.push('server', server.stop)
  const heard: number[] = []
  let forgotten = 0
  const cache = {
    invalidate: async (ids: Iterable<number | null | undefined>) => void heard.push(...[...ids].map(Number)),
    clearCache: () => void forgotten++,
  }
  await subscribeToInvalidations(server.connection, cache, stack)
  const db = createDatabase((own) => postgres(server.url(), { ...valueOptions, ...own }), {
    poolSize: 1,
    timeoutMs: 60_000,
  })
  stack.push('database', db.close)
  await publishInvalidations(db, [1, 2])
  await vi.waitFor(() => expect(heard).toEqual([1, 2]), patience)
  const before = forgotten
  await db.run(
    (sql) => sql`select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen %'`,
  )
  await publishInvalidations(db, [3])
  await vi.waitFor(() => expect(forgotten).toBe(before + 1), patience)
  await publishInvalidations(db, [4])
  await vi.waitFor(() => expect(heard).toContain(4), patience)
  await stack.unwind()
})
