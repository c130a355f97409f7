/** Two environments of the API on AWS Lambda share a Redis. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClient } from '../support/client.ts'
import { startLambda } from '../support/lambda.ts'
import { startLambdaFront } from '../support/lambda-front.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'

let postgres: TestPostgres
let redis: TestRedis
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  ;[postgres, redis] = await Promise.all([startTestPostgres(), startTestRedis()])
  await migrateDatabase(postgres.url())
})
afterAll(async () => {
  await Promise.all(stops.map((stop) => stop()))
  await redis?.stop()
  await postgres?.stop()
})

async function start() {
  const lambda = await startLambda('api', {
    DATABASE_URL: postgres.url(),
    REDIS_URL: redis.url,
    JWT_SECRET: 'x'.repeat(32),
    BCRYPT_COST: '4',
    RATE_LIMIT_USER: '1000/24h',
    TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
    LOG_LEVEL: 'warn',
  })
  const front = await startLambdaFront(lambda)
  stops.push(async () => {
    front.close()
    await lambda.stop()
  })
  return { lambda, client: createClient({ baseUrl: front.url, addressHeader: 'X-Forwarded-For' }) }
}

test('environments share limits and cached answers, though each is frozen while the other answers', async () => {
  const [one, other] = await Promise.all([start(), start()])
  const { token } = await one.client.register()
  const task = await one.client.createTask(token)
  const read = async ({ client }: typeof one) => {
    const { status, headers } = await client.request('GET', `/api/tasks/${task.id}/`, { token })
    expect(status).toBe(200)
    return [headers.get('X-RateLimit-Remaining'), headers.get('Cache-Status')?.split(';')[1]?.trim()]
  }
  expect(await read(one)).toEqual(['998', 'fwd=uri-miss'])
  // Background work has ended with the answer: the entry is stored.
  expect(await read(other)).toEqual(['997', 'hit'])
  expect(await read(one)).toEqual(['996', 'hit'])
  const { status } = await other.client.request('PATCH', `/api/tasks/${task.id}/`, {
    token,
    json: { title: 'New' },
  })
  expect(status).toBe(200)
  const { body } = await one.client.request('GET', `/api/tasks/${task.id}/`, { token })
  expect(body.title).toBe('New')
  expect([...one.lambda.lines, ...other.lambda.lines]).toEqual([])
})

test('a connection that was closed while its environment was frozen is replaced before it is used', async () => {
  const { lambda, client } = await start()
  const { token } = await client.register()
  const { id } = await client.createTask(token)
  const read = () => client.request('GET', `/api/tasks/${id}/`, { token })
  expect((await read()).headers.get('X-RateLimit-Remaining')).toBe('998')
  await redis.ask(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'])
  // Longer than an unused connection is trusted.
  await sleep(2500)
  const { headers } = await read()
  expect(headers.get('X-RateLimit-Remaining')).toBe('997')
  expect(headers.get('Cache-Status')).toMatch(/^task-api; hit/)
  expect(lambda.lines).toEqual([])
})
