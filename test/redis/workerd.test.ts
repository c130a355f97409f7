/** Round trips to Upstash and Postgres on Workers. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClient } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'
import { migrateDatabase } from '../support/processes.ts'
import { startTestRedis, type TestRedis, until } from '../support/redis.ts'
import { startUpstashFront, type UpstashFront } from '../support/upstash-front.ts'
import { bundleWorkers, startWorkers } from '../support/workerd-targets.ts'

let postgres: TestPostgres
let redis: TestRedis
let front: UpstashFront
let proxy: Awaited<ReturnType<typeof startPostgresProxy>>
let workers: Awaited<ReturnType<typeof startWorkers>>

beforeAll(async () => {
  ;[postgres, redis] = await Promise.all([startTestPostgres(), startTestRedis()])
  await migrateDatabase(postgres.url())
  ;[front, proxy] = await Promise.all([startUpstashFront(redis.url), startPostgresProxy(postgres.url())])
  workers = await startWorkers(await bundleWorkers(), proxy.url, {
    JWT_SECRET: 'x'.repeat(32),
    BCRYPT_COST: '4',
    RATE_LIMIT_ANONYMOUS: '1000/60s',
    UPSTASH_REDIS_REST_URL: front.url,
    UPSTASH_REDIS_REST_TOKEN: front.token,
    LOG_LEVEL: 'error',
  })
})
afterAll(async () => {
  await workers?.stop()
  proxy?.close()
  front?.close()
  await redis?.stop()
  await postgres?.stop()
})

test('one call to Upstash before the work and one after a write; one statement, or none for a cached answer', async () => {
  const client = createClient({ baseUrl: workers.url, addressHeader: 'X-Test-Address' })
  const { token } = await client.register()
  const { id } = await client.createTask(token)
  const path = `/api/tasks/${id}/`
  const cost = async (method: string, json?: object) => {
    const before = { calls: front.calls.length, statements: proxy.executed.length }
    const { headers } = await client.request(method, path, { token, ...(json && { json }) })
    const calls = front.calls.length - before.calls
    const statements = proxy.executed
      .slice(before.statements)
      .filter((text) => !/\boutbox\b/.test(text)).length
    return { calls, statements, cache: headers.get('Cache-Status')?.split(';')[1]?.trim() }
  }
  // The first of each may have to send a script.
  await cost('GET')
  await until(async () => (await cost('GET')).cache === 'hit', 'the answer to be kept')
  expect(await cost('GET')).toEqual({ calls: 1, statements: 0, cache: 'hit' })
  expect(await cost('PATCH', { title: 'Two' })).toMatchObject({ calls: 2, statements: 1 })
  expect(await cost('GET')).toMatchObject({ statements: 1, cache: expect.stringContaining('fwd=') })
  await until(async () => (await cost('GET')).cache === 'hit', 'the answer to be kept')
  expect(await cost('GET')).toEqual({ calls: 1, statements: 0, cache: 'hit' })
})
