/** METRICS_PORT: the metrics of known traffic, and of a database that does not answer. */
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { atOnce, createClient, inTurn, taskPath } from '../support/client.ts'
import { root } from '../support/directories.ts'
import { scrape, sumOf } from '../support/exposition.ts'
import { findFreePort } from '../support/ports.ts'
import { createService } from '../support/processes.ts'

const patience = { timeout: 60_000, interval: 100 }

const requestsOf = async (api: Parameters<typeof scrape>[0], labels: Record<string, string>) =>
  sumOf(await scrape(api), 'http_request_duration_seconds_count', labels)

/** Sends methods that fetch refuses. */
function statusOf(url: URL, method: string) {
  return new Promise<number | undefined>((resolve, reject) => {
    request(url, { method }, (response) => {
      response.resume().on('end', () => resolve(response.statusCode))
    })
      .on('error', reject)
      .end()
  })
}

test('requests, verdicts, look-ups and deliveries are counted once', async (context) => {
  const service = await createService(context, { METRICS_PORT: '0', RATE_LIMIT_LOGIN: '2/60s' })
  const api = await service.start()
  // On loopback by default.
  const { url } = await api.line(({ message }) => message === 'metrics')
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/metrics$/)
  const client = createClient(api)
  const { token, username } = await client.register()
  const tasks = await inTurn(3, () => client.createTask(token))
  await inTurn(4, () => client.request('GET', '/api/tasks/', { token }))
  await atOnce(3, (i) =>
    client.request('PATCH', taskPath({ id: tasks[i]?.id ?? 0 }), { token, json: { status: 'completed' } }),
  )
  await client.request('GET', taskPath({ id: 999_999 }), { token })
  const logins = await inTurn(3, () =>
    client.request('POST', '/api/token/', { json: { username, password: 'wrong' } }),
  )
  expect(logins.map(({ status }) => status)).toEqual([401, 401, 429])
  await inTurn(5, (i) => client.request('GET', `/nowhere/${i}`))
  expect(await statusOf(new URL('/api/tasks/', api.baseUrl), 'PROPFIND')).toBe(405)
  await vi.waitFor(
    async () => expect(sumOf(await scrape(api), 'event_deliveries_total', { outcome: 'handled' })).toBe(3),
    patience,
  )

  const told = await scrape(api)
  const requests = (labels: Record<string, string>) =>
    sumOf(told, 'http_request_duration_seconds_count', labels)
  const tasksRoute = { route: '/api/tasks/' }
  expect(requests({ ...tasksRoute, method: 'POST', status: '201' })).toBe(3)
  expect(requests({ ...tasksRoute, method: 'GET', status: '200' })).toBe(4)
  expect(requests({ route: '/api/tasks/:id/', method: 'PATCH', status: '200' })).toBe(3)
  expect(requests({ route: '/api/tasks/:id/', method: 'GET', status: '404' })).toBe(1)
  expect(requests({ route: '/api/token/', status: '200' })).toBe(1)
  expect(requests({ route: '/api/token/', status: '401' })).toBe(2)
  expect(requests({ route: '/api/token/', status: '429' })).toBe(1)
  // All unknown methods are one series.
  expect(requests({ route: 'unknown', method: 'GET', status: '404' })).toBe(5)
  expect(requests({ route: 'unknown', method: 'other', status: '405' })).toBe(1)
  expect(requests({})).toBe(1 + 4 + 3 + 4 + 3 + 1 + 5 + 1)

  const verdicts = (rule: string, verdict: string) =>
    sumOf(told, 'rate_limit_verdicts_total', { rule, verdict })
  expect(verdicts('user', 'allowed')).toBe(3 + 4 + 3 + 1)
  expect(verdicts('login', 'refused')).toBe(1)
  expect(verdicts('user', 'refused')).toBeUndefined()
  const lookups = (outcome: string) => sumOf(told, 'cache_lookups_total', { outcome })
  expect(lookups('hit')).toBe(3)
  // The first list, and a task that does not exist.
  expect(lookups('uri_miss')).toBe(2)
  expect(sumOf(told, 'event_deliveries_total')).toBe(3)
  expect(sumOf(told, 'event_delivery_delay_seconds_count')).toBe(3)

  expect(sumOf(told, 'process_resident_memory_bytes', { process: '1' })).toBeGreaterThan(2 ** 20)
  expect(sumOf(told, 'nodejs_eventloop_lag_p99_seconds', { process: '1' })).toBeGreaterThan(0)
  expect(told.types.get('http_request_duration_seconds')).toBe('histogram')
  const everything = JSON.stringify(told.samples)
  for (const text of [username, token, String(tasks[0]?.title)]) expect(everything).not.toContain(text)
  // A series of 15 samples for each operation and status.
  expect(told.samples.length).toBeLessThan(500)
})

test('the outbox: number of waiting events, age of the oldest, dead letters', async (context) => {
  const service = await createService(context, { METRICS_PORT: '0' })
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const outbox = async () => {
    const told = await scrape(api)
    return ['outbox_events', 'outbox_dead_events', 'outbox_oldest_event_age_seconds'].map((name) =>
      sumOf(told, name),
    )
  }
  expect(await outbox()).toEqual([0, 0, 0])
  service.webhook.answerWith((response) => void response.writeHead(500).end())
  await atOnce(3, () => client.createTask(token, { status: 'completed' }))
  await vi.waitFor(async () => expect((await outbox()).slice(0, 2)).toEqual([3, 0]), patience)
  const told = await scrape(api)
  expect(sumOf(told, 'outbox_oldest_event_age_seconds')).toBeGreaterThan(0)
  expect(sumOf(told, 'event_deliveries_total', { outcome: 'failed' })).toBeGreaterThan(0)
  expect(sumOf(told, 'event_deliveries_total', { outcome: 'handled' })).toBeUndefined()
  await service.query('update outbox set dead_at = now() where id = (select id from outbox limit 1)')
  await vi.waitFor(async () => expect((await outbox()).slice(0, 2)).toEqual([2, 1]), patience)
})

test('a scrape does not wait for the database, and shows the waiting statements', async (context) => {
  const service = await createService(context, { METRICS_PORT: '0', DATABASE_POOL: '2' })
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const lock = 'begin; lock table tasks, outbox in access exclusive mode; select pg_sleep(8)'
  const locked = service.query(lock)
  await vi.waitFor(async () => {
    const held =
      "select from pg_locks where mode = 'AccessExclusiveLock' and granted and relation = 'tasks'::regclass"
    expect(await service.query(held)).toHaveLength(1)
  }, patience)
  const lists = atOnce(5, (i) => client.request('GET', `/api/tasks/?limit=${i + 1}`, { token }))
  await vi.waitFor(async () => {
    const begun = performance.now()
    const seen = await scrape(api)
    // A scrape waits 1.5 s for the outbox.
    expect(performance.now() - begun).toBeLessThan(8_000)
    expect(sumOf(seen, 'database_statements', { state: 'running' })).toBe(2)
    expect(sumOf(seen, 'database_statements', { state: 'waiting' })).toBeGreaterThanOrEqual(3)
    expect(sumOf(seen, 'outbox_events')).toBeUndefined()
  }, patience)
  await locked.catch(() => {})
  expect((await lists).map(({ status }) => status)).toEqual(Array(5).fill(200))
  await vi.waitFor(async () => expect(sumOf(await scrape(api), 'outbox_events')).toBe(0), patience)
})

test('shows running and waiting password hashes', async (context) => {
  const service = await createService(context, { METRICS_PORT: '0', BCRYPT_COST: '12' })
  const api = await service.start()
  const client = createClient(api)
  const { username, password } = await client.register()
  let going = true
  const logins = atOnce(8, async () => {
    while (going) await client.logIn(username, password)
  })
  await vi.waitFor(async () => {
    const told = await scrape(api)
    for (const state of ['running', 'waiting'])
      expect(sumOf(told, 'password_hashes', { state })).toBeGreaterThan(0)
  }, patience)
  going = false
  await logins
})

test('/metrics is served on its own port only', async (context) => {
  const port = String(await findFreePort())
  const service = await createService(context, { METRICS_PORT: port })
  const api = await service.start()
  expect(await requestsOf(api, {})).toBeUndefined()
  expect((await createClient(api).request('GET', '/metrics')).status).toBe(404)
  const at = (path: string) => new URL(path, `http://127.0.0.1:${port}`)
  expect((await fetch(at('/'))).status).toBe(404)
  expect((await fetch(at('/metrics'), { method: 'POST' })).status).toBe(405)
  const head = await fetch(at('/metrics'), { method: 'HEAD' })
  expect([head.status, await head.text()]).toEqual([200, ''])
  await api.stop()
  await expect(fetch(at('/metrics'))).rejects.toThrow()
})

test('metrics are off without METRICS_PORT', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  expect(api.lines.some(({ message }) => message === 'metrics')).toBe(false)
})

test('the documentation names exactly the metrics of the service', async (context) => {
  const service = await createService(context, { METRICS_PORT: '0' })
  const api = await service.start()
  const { types } = await scrape(api)
  const text = await readFile(join(root, 'docs/operations.md'), 'utf8')
  const own = [...types.keys()].filter((name) => !/^(process|nodejs)_/.test(name))
  expect(own.filter((name) => !text.includes(`\`${name}\``))).toEqual([])
  const named = text.match(/\b(?:http|rate|cache|database|password|event|outbox|process|nodejs)_\w+\b/g) ?? []
  const known = [...types.keys()].flatMap((name) => [name, `${name}_count`, `${name}_bucket`])
  const words = new Set(['process_', 'nodejs_'])
  expect([...new Set(named)].filter((name) => !known.includes(name) && !words.has(name))).toEqual([])
})
