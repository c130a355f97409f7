/** Commands for an operator beside a service that keeps its limits and cached answers in a Redis. */
import { expect, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { startTestPostgres } from '../support/postgres.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'
import { startTestRedis, until } from '../support/redis.ts'
import { startUpstashFront } from '../support/upstash-front.ts'

const JWT_SECRET = 'a secret that only the tests know: 32 bytes and more'

test.for(['redis', 'upstash'])(
  'a disabled or logged-out user reads nothing more from the cache: %s',
  async (kind, context) => {
    const server = await startTestPostgres()
    const redis = await startTestRedis()
    const front = await startUpstashFront(redis.url)
    context.onTestFinished(async () => {
      await front.close()
      await redis.stop()
      await server.stop()
    })
    await migrateDatabase(server.url())
    const environment = {
      DATABASE_URL: server.url(),
      JWT_SECRET,
      BCRYPT_COST: '4',
      ...(kind === 'redis'
        ? { REDIS_URL: redis.url }
        : { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: front.token }),
    }
    const api = await startApi({ environment })
    context.onTestFinished(async () => void (await api.stop()))
    const client = createClient(api)
    const users = (args: string[], input = '') => runBuilt('users', args, { environment, input })

    for (const act of [
      (name: string) => users(['disable', name]),
      (name: string) => users(['reset-password', name], 'battery staple'),
      (name: string) => users(['logout-all', name]),
      () => users(['logout-all', '--everybody']),
    ]) {
      const { username, token } = await client.register(newName())
      await client.createTask(token)
      const list = () => client.request('GET', '/api/tasks/', { token })
      await until(async () => /hit/.test((await list()).headers.get('Cache-Status') ?? ''), 'a cached answer')
      expect(await act(username)).toMatchObject({ code: 0, stderr: '' })
      expect((await list()).status).toBe(401)
    }
  },
)

test('doctor writes to the store, and says why it cannot', async (context) => {
  const redis = await startTestRedis()
  const front = await startUpstashFront(redis.url)
  context.onTestFinished(async () => {
    await front.close()
    await redis.stop()
  })
  const store = async (environment: Record<string, string>) => {
    const { stdout } = await runBuilt('doctor', ['--json'], {
      environment: { DATA_DIR: '/nonexistent', ...environment },
    })
    expect(stdout).not.toContain('hunter')
    const { findings } = JSON.parse(stdout) as {
      findings: { name: string; status: string; detail: string }[]
    }
    return findings.filter(({ name }) => name === 'store')
  }
  const failed = (why: string) => ({ status: 'failed', detail: expect.stringContaining(why) })
  expect(await store({ REDIS_URL: redis.url })).toMatchObject([{ status: 'ok' }])
  const withPassword = redis.url.replace('//', '//nobody:hunter2@')
  expect(await store({ REDIS_URL: withPassword })).toMatchObject([failed('WRONGPASS')])

  const upstash = { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: front.token }
  expect(await store(upstash)).toMatchObject([{ status: 'ok' }])
  const forged = { ...upstash, UPSTASH_REDIS_REST_TOKEN: 'other' }
  expect(await store(forged)).toMatchObject([{ status: 'failed' }])
  await redis.kill()
  expect(await store({ REDIS_URL: redis.url })).toMatchObject([
    { status: 'warning', detail: expect.stringContaining('no Redis answers') },
    failed('ECONNREFUSED'),
  ])
})
