/** Several API processes that share a Postgres and a Redis act as one. */
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { cert, key } from '../support/certificate.ts'
import { type Client, createClient, statuses, type User } from '../support/client.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'
import { type ApiProcess, migrateDatabase, startApi } from '../support/processes.ts'
import { startTestRedis, type TestRedis, until } from '../support/redis.ts'
import { withStoreThere } from '../support/store-loss.ts'
import { startTurnCounter } from '../support/turns.ts'
import { startUpstashFront, type UpstashFront } from '../support/upstash-front.ts'

let postgres: TestPostgres
let redis: TestRedis
let database: string
const processes: ApiProcess[] = []

const settings = (more: Record<string, string>) => ({
  DATABASE_URL: database,
  JWT_SECRET: 'x'.repeat(32),
  BCRYPT_COST: '4',
  RATE_LIMIT_ANONYMOUS: '1000000/60s',
  RATE_LIMIT_USER: '1000000/60s',
  TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
  ...more,
})

async function start(more: Record<string, string> = { REDIS_URL: redis.url }) {
  const api = await startApi({ environment: settings(more) })
  processes.push(api)
  return { api, client: createClient(api) }
}

beforeAll(async () => {
  postgres = await startTestPostgres()
  redis = await startTestRedis()
  database = postgres.url(await postgres.createDatabase())
  await migrateDatabase(database)
})
afterAll(async () => {
  await Promise.all(processes.map((api) => api.stop()))
  await redis?.stop()
  await postgres?.stop()
})

const cacheStatus = ({ headers }: { headers: Headers }) => headers.get('Cache-Status')

/** Repeats a request until the answer is from the cache, where it is stored in the background. */
async function untilHit(client: Client, token: string, path = '/api/tasks/', method = 'GET') {
  const isHit = async () => cacheStatus(await client.request(method, path, { token }))?.includes('hit')
  await until(async () => (await isHit()) ?? false, 'a hit')
}

test('each process reads the writes of the others at once, then from the cache', async () => {
  const [one, other] = [(await start()).client, (await start()).client]
  const ann = await one.register()
  const bob = await other.register()
  const read = (client: typeof one, { token }: User, path: string) => client.request('GET', path, { token })
  const task = await one.createTask(ann.token, { title: 'One', assigned_to: bob.id })
  const path = `/api/tasks/${task.id}/`
  expect(cacheStatus(await read(one, ann, path))).toBe('task-api; fwd=uri-miss; stored')
  // It is stored in the background.
  await until(
    async () => /^task-api; hit; ttl=\d+$/.test(cacheStatus(await read(other, ann, path)) ?? ''),
    'a hit',
  )
  for (const list of [
    '/api/tasks/',
    '/api/tasks/?limit=1&ordering=title',
    '/api/tasks?ordering=title&limit=1',
  ]) {
    expect((await read(other, bob, list)).body.results).toMatchObject([{ title: 'One' }])
  }
  for (const title of ['Two', 'Three']) {
    await other.request('PATCH', path, { token: bob.token, json: { title } })
    expect((await read(one, ann, path)).body).toMatchObject({ title })
    expect((await read(one, ann, '/api/tasks/')).body.results).toMatchObject([{ title }])
    expect((await read(one, bob, '/api/tasks?ordering=title&limit=1')).body.results).toMatchObject([
      { title },
    ])
  }
  await one.request('PATCH', path, { token: ann.token, json: { assigned_to: null } })
  expect((await read(other, bob, path)).status).toBe(404)
  expect((await read(other, bob, '/api/tasks/')).body.results).toEqual([])
  await one.request('DELETE', path, { token: ann.token })
  expect((await read(other, ann, path)).status).toBe(404)
})

test('a cached query is identified by its whole text, with question marks', async () => {
  const { client } = await start()
  const { token } = await client.register()
  const pending = await client.createTask(token, { title: 'why?' })
  const completed = await client.createTask(token, { title: 'why?', status: 'completed' })
  for (const _ of ['made', 'kept']) {
    for (const { id, status } of [pending, completed]) {
      const { body } = await client.request('GET', `/api/tasks/?search=why?&status=${status}`, { token })
      expect(body.results).toMatchObject([{ id }])
    }
  }
})

test('the retry of a write that was never answered invalidates the cache', async () => {
  const { api, client } = await start()
  const { id: userId, token, refreshToken } = await client.register()
  const { id } = await client.createTask(token, { title: 'Old' })
  const path = `/api/tasks/${id}/`
  await untilHit(client, token, path)
  // Like a process that was killed between commit and invalidation.
  const sql = postgres.sql(new URL(database).pathname.slice(1))
  await sql`update tasks set title = 'New' where id = ${id}`
  expect((await client.request('GET', path, { token })).body.title).toBe('Old')
  const repeat = await client.request('PATCH', path, { token, json: { title: 'New' } })
  expect([repeat.status, repeat.headers.get('ETag')]).toEqual([200, expect.stringMatching(/^"2\.\d+"$/)])
  expect((await client.request('GET', path, { token })).body.title).toBe('New')

  await untilHit(client, token, path)
  await sql`update sessions set ended_at = now() where user_id = ${userId}`
  await client.request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
  expect((await client.request('GET', path, { token })).status).toBe(401)
  expect(api.lines.some(({ message }) => message?.startsWith('the store is lost'))).toBe(false)
})

test('the connection to a silent Redis is replaced, and no requests pile up', async () => {
  const own = await startTestRedis()
  const { client } = await start({ REDIS_URL: own.url })
  const { token } = await client.register()
  const connections = async () =>
    [...String(await own.ask(['CLIENT', 'LIST'])).matchAll(/id=(\d+) .*name=task-api/g)].map(([, id]) => id)
  const [first] = await connections()
  own.freeze()
  const begun = Date.now()
  // Until the silence is detected. Writes must go on meanwhile.
  for (let i = 0; Date.now() - begun < 7000; i++) await client.createTask(token, { title: `${i}` })
  own.thaw()
  await until(async () => (await client.request('GET', '/readyz')).body.status === 'ready', 'ready again')
  await until(async () => (await connections()).length === 1, 'the first connection to be gone')
  expect(await connections()).not.toContain(first)
  const { body } = await client.request('GET', '/api/tasks/?count=true&limit=1', { token })
  const fresh = await client.request('GET', '/api/tasks/?limit=1&count=true&ordering=title', { token })
  expect(body.count).toBe(fresh.body.count)
  await own.stop()
})

test('preconditions and HEAD apply to cached answers', async () => {
  const { client } = await start()
  const { token } = await client.register()
  const { id } = await client.createTask(token)
  const path = `/api/tasks/${id}/`
  const etag = (await client.request('GET', path, { token })).headers.get('ETag') ?? ''
  await untilHit(client, token, path, 'HEAD')
  const get = (headers: Record<string, string>) => client.request('GET', path, { token, headers })
  const unchanged = await get({ 'If-None-Match': `W/${etag}` })
  expect([unchanged.status, unchanged.headers.get('ETag')]).toEqual([304, etag])
  expect((await get({ 'If-Match': etag })).status).toBe(200)
  const refused = await get({ 'If-Match': '"1"' })
  expect([refused.status, refused.headers.get('ETag')]).toEqual([412, etag])
})

test('an ended session reads nothing more from any process or cache', async () => {
  const [one, other] = [(await start()).client, (await start()).client]
  const cached = (token: string) => untilHit(other, token)
  const ann = await one.register()
  await cached(ann.token)
  await one.logOut(ann.refreshToken)
  expect((await other.request('GET', '/api/tasks/', { token: ann.token })).status).toBe(401)

  const second = await one.logIn(ann.username, ann.password)
  const third = await one.logIn(ann.username, ann.password)
  await cached(second.token)
  const change = { password: 'another horse', current_password: ann.password }
  await one.request('PATCH', '/api/users/me/', { token: third.token, json: change })
  expect((await other.request('GET', '/api/tasks/', { token: second.token })).status).toBe(401)
  await cached(third.token)
  const bob = await one.register()
  const { id } = await one.createTask(third.token, { assigned_to: bob.id })
  await cached(bob.token)
  const deletion = { token: third.token, json: { password: 'another horse' } }
  expect((await one.request('DELETE', '/api/users/me/', deletion)).status).toBe(204)
  expect((await other.request('GET', '/api/tasks/', { token: third.token })).status).toBe(401)
  expect((await other.request('GET', '/api/tasks/', { token: bob.token })).body.results).toEqual([])
  expect((await other.request('GET', `/api/tasks/${id}/`, { token: bob.token })).status).toBe(404)
})

test('limits are exact over all processes, under three times as many requests at once', async () => {
  // The window is longer than the test, and each user is new, so no earlier window weighs in.
  const limited = { REDIS_URL: redis.url, RATE_LIMIT_USER: '50/3600s' }
  const clients = await Promise.all([start(limited), start(limited), start(limited)])
  const [first] = clients
  if (!first) throw new Error('no process')
  const burst = async () => {
    const { token } = await first.client.register()
    return Promise.all(
      Array.from({ length: 150 }, (_, i) =>
        (clients[i % 3] ?? first).client.request('GET', '/api/tasks/', { token }),
      ),
    )
  }
  const answers = await withStoreThere(
    clients.map(({ api }) => api),
    burst,
  )
  const passed = statuses(answers).filter((status) => status === 200)
  expect(passed).toHaveLength(50)
  expect(statuses(answers).filter((status) => status === 429)).toHaveLength(100)
})

describe('round trips', () => {
  test('one to Redis before the work and one after a write; one statement, or none for a cached answer', async () => {
    const counter = await startTurnCounter(redis.port)
    const proxy = await startPostgresProxy(database)
    const { client } = await start({
      REDIS_URL: `redis://127.0.0.1:${counter.port}`,
      DATABASE_URL: proxy.url,
    })
    const { token } = await client.register()
    const { id } = await client.createTask(token)
    /** Work of earlier requests in the background must not be counted. */
    const quiet = async () => {
      for (let turns = -1; turns !== counter.turns(); ) {
        turns = counter.turns()
        await sleep(250)
      }
    }
    const cost = async (method: string, path: string, json?: object) => {
      const statements = () => proxy.executed.filter((statement) => !/\boutbox\b/.test(statement)).length
      await quiet()
      const before = { turns: counter.turns(), statements: statements() }
      const answer = await client.request(method, path, { token, ...(json && { json }) })
      expect(answer.status).toBeLessThan(300)
      const counted = { turns: counter.turns() - before.turns, statements: statements() - before.statements }
      return { ...counted, status: cacheStatus(answer) }
    }
    await cost('GET', `/api/tasks/${id}/`)
    await cost('PATCH', `/api/tasks/${id}/`, { title: 'Warm' })
    expect((await cost('PATCH', `/api/tasks/${id}/`, { title: 'Two' })).statements).toBe(1)
    expect((await cost('PATCH', `/api/tasks/${id}/`, { title: 'Three' })).turns).toBeLessThanOrEqual(2)
    expect((await cost('POST', '/api/tasks/', { title: 'Other' })).turns).toBeLessThanOrEqual(2)
    const miss = await cost('GET', `/api/tasks/${id}/`)
    expect(miss.statements).toBe(1)
    expect(miss.status).toContain('stored')
    // It is stored in the background.
    let hit = miss
    await until(async () => {
      hit = await cost('GET', `/api/tasks/${id}/`)
      return hit.status?.includes('hit') ?? false
    }, 'a hit')
    expect(hit).toMatchObject({ turns: 1, statements: 0 })
    proxy.close()
    counter.close()
  })

  test('one to Upstash before the work and one after a write', async () => {
    const front: UpstashFront = await startUpstashFront(redis.url)
    const upstash = { UPSTASH_REDIS_REST_URL: front.url, UPSTASH_REDIS_REST_TOKEN: front.token }
    const { client } = await start(upstash)
    const { token } = await client.register()
    const { id } = await client.createTask(token)
    await client.request('GET', `/api/tasks/${id}/`, { token })
    const calls = async (method: string, path: string, json?: object) => {
      const before = front.calls.length
      await client.request(method, path, { token, ...(json && { json }) })
      return front.calls.slice(before).length
    }
    const kept = () => front.calls.some(([first]) => first?.[0] === 'set' && first[1]?.endsWith('?'))
    await until(kept, 'the answer to be kept')
    expect(await calls('PATCH', `/api/tasks/${id}/`, { title: 'Two' })).toBe(2)
    await until(async () => (await calls('GET', `/api/tasks/${id}/`)) === 1, 'a hit by one call')
    front.close()
  })
})

test('without the store: limits by each process, no cache, "degraded" in /readyz; recovers with the store', async () => {
  const own = await startTestRedis()
  const { api, client } = await start({ REDIS_URL: own.url, RATE_LIMIT_USER: '5/3600s' })
  const readiness = async () => (await client.request('GET', '/readyz')).body
  expect(await readiness()).toEqual({ status: 'ready' })
  await own.kill()
  await until(async () => (await readiness()).degraded?.includes('cache') ?? false, 'degraded')
  const { token } = await client.register()
  const answers = await Promise.all(
    Array.from({ length: 15 }, () => client.request('GET', '/api/tasks/', { token })),
  )
  expect(statuses(answers).filter((status) => status === 200)).toHaveLength(5)
  for (const answer of answers.filter(({ status }) => status === 200))
    expect(cacheStatus(answer)).toBe('task-api; fwd=bypass')
  await own.start()
  await until(async () => (await readiness()).status === 'ready', 'ready again')
  const messages = api.lines.map(({ message }) => message)
  expect(messages.filter((message) => message?.startsWith('the store is lost'))).toHaveLength(1)
  const returns = () => api.lines.filter(({ message }) => message === 'the store is back').length
  // Log lines are written after the answers of their turn.
  await until(() => returns() > 0, 'the log line')
  expect(returns()).toBe(1)
  const { status, headers } = await client.request('GET', '/api/tasks/', { token })
  expect([status, headers.get('Cache-Status')]).toEqual([200, 'task-api; fwd=uri-miss; stored'])
  await own.stop()
})

test('a start goes on without its store, but is stopped by a wrong password', async () => {
  const port = await findFreePort()
  const { client } = await start({ REDIS_URL: `redis://127.0.0.1:${port}` })
  expect((await client.request('GET', '/readyz')).body).toEqual({ status: 'degraded', degraded: ['cache'] })

  const locked = await startTestRedis('--requirepass', 'the right one')
  await expect(start({ REDIS_URL: `redis://:wrong@127.0.0.1:${locked.port}` })).rejects.toThrow(
    /REDIS_URL: the server refuses its user or password/,
  )
  await expect(start({ REDIS_URL: locked.url })).rejects.toThrow(/REDIS_URL: the server refuses/)
  const right = await start({ REDIS_URL: `redis://:the%20right%20one@127.0.0.1:${locked.port}` })
  expect((await right.client.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  await locked.stop()
})

test('over TLS, as an ACL user with the least rights', async () => {
  const directory = await temporaryDirectory()
  const [certFile, keyFile] = [join(directory, 'cert.pem'), join(directory, 'key.pem')]
  await writeFile(certFile, cert)
  await writeFile(keyFile, key)
  const tlsPort = await findFreePort()
  const secured = await startTestRedis(
    ...['--tls-port', String(tlsPort), '--tls-cert-file', certFile, '--tls-key-file', keyFile],
    ...['--tls-ca-cert-file', certFile, '--tls-auth-clients', 'no'],
    ...'--user tasks on >secret ~tasks:* -@all'.split(' '),
    ...'+evalsha +eval +get +set +mget +incrby +decr +pexpire +ping +client +hello'.split(' '),
  )
  const url = `rediss://tasks:secret@127.0.0.1:${tlsPort}`
  const { client } = await start({ REDIS_URL: url, REDIS_PREFIX: 'tasks:', NODE_EXTRA_CA_CERTS: certFile })
  expect((await client.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  const { token } = await client.register()
  await untilHit(client, token)
  // Without the CA the certificate is not trusted.
  const doubting = await start({ REDIS_URL: url, REDIS_PREFIX: 'tasks:' })
  expect((await doubting.client.request('GET', '/readyz')).body.degraded).toEqual(['cache'])
  await secured.stop()
  await rm(directory, { recursive: true, force: true })
})
