/** Commands for an operator beside a service that keeps its limits and cached answers in a Redis. */
import { expect, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { startTestPostgres } from '../support/postgres.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'
import { startTestRedis, until } from '../support/redis.ts'
import { startUpstashFront } from '../support/upstash-front.ts'

/** How fast is the machine's affair. */
const answers = { name: 'store', detail: expect.stringMatching(/ answers in [\d.]+ ms$/) }

const JWT_SECRET = 'a secret that only the tests know: 32 bytes and more'

test.for(['redis', 'upstash'])(
  'who is disabled or logged out reads nothing more from the cache: %s',
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

test('doctor: how far away it is, its version, what it forgets when full; an ACL user; one that is away', async (context) => {
  const redis = await startTestRedis('--maxmemory', '64mb', '--maxmemory-policy', 'noeviction')
  const front = await startUpstashFront(redis.url)
  context.onTestFinished(async () => {
    await front.close()
    await redis.stop()
  })
  const doctor = async (environment: Record<string, string>) => {
    const { stdout } = await runBuilt('doctor', ['--json'], {
      environment: { DATA_DIR: '/nonexistent', ...environment },
    })
    return (JSON.parse(stdout).findings as { name: string; status: string; detail: string }[]).filter(
      ({ name }) => /^(store|redis)/.test(name),
    )
  }
  expect(await doctor({ REDIS_URL: redis.url })).toMatchObject([
    answers,
    { name: 'redis', status: 'ok', detail: expect.stringMatching(/^(Redis|Valkey) [\d.]+$/) },
    { name: 'redis memory', status: 'warning', detail: expect.stringContaining('policy noeviction') },
  ])
  await redis.ask(['CONFIG', 'SET', 'maxmemory-policy', 'volatile-ttl'])
  expect((await doctor({ REDIS_URL: redis.url })).at(-1)).toMatchObject({
    name: 'redis memory',
    status: 'ok',
  })

  await redis.ask(['ACL', 'SETUSER', 'limited', 'on', '>hunter2', '~*', '+ping', '+client'])
  const as = (password: string) => redis.url.replace('//', `//limited:${password}@`)
  expect(await doctor({ REDIS_URL: as('hunter2') })).toMatchObject([
    answers,
    { name: 'redis', status: 'warning', detail: expect.stringContaining('INFO is refused') },
  ])
  const refused = await doctor({ REDIS_URL: as('hunter3') })
  expect(refused).toMatchObject([
    { name: 'store', status: 'failed', detail: expect.stringContaining('WRONGPASS') },
  ])
  expect(JSON.stringify(refused)).not.toContain('hunter')

  const upstash = { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: front.token }
  expect(await doctor(upstash)).toMatchObject([answers])
  const forged = await doctor({ ...upstash, UPSTASH_REDIS_REST_TOKEN: 'other' })
  expect(forged).toMatchObject([{ name: 'store', status: 'failed' }])
  await redis.kill()
  expect(await doctor({ REDIS_URL: redis.url })).toMatchObject([
    { name: 'store', status: 'failed', detail: expect.stringContaining('ECONNREFUSED') },
  ])
})
