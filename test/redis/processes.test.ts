/** WEB_CONCURRENCY: several processes on one port act as one service, survive kills, and end together. */
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { isRunning } from '../../src/runtime/embedded-postgres/owner.ts'
import { atOnce, createClient, inOneWindow, statuses, taskPath } from '../support/client.ts'
import { root } from '../support/directories.ts'
import { scrape, sumOf } from '../support/exposition.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { type ApiProcess, createService, descendantsOf, endProcess } from '../support/processes.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'
import { withStoreThere } from '../support/store-loss.ts'
import { beginUpload } from '../support/upload.ts'

const patience = { timeout: 60_000, interval: 20 }
/** The time-out of docker stop. */
const stopLimitMs = 10_000

let redis: TestRedis
beforeAll(async () => {
  redis = await startTestRedis()
})
afterAll(() => redis?.stop())

let services = 0
/** With its own key prefix in the Redis, since each service numbers its users from 1. */
function createServiceOf(count: number, context: TestContext, environment: Record<string, string> = {}) {
  return createService(context, {
    WEB_CONCURRENCY: String(count),
    REDIS_URL: redis.url,
    REDIS_PREFIX: `service-${++services}:`,
    ...environment,
  })
}

const workersOf = ({ child }: Pick<ApiProcess, 'child'>) =>
  descendantsOf(child)
    .filter(({ command }) => command.includes('cluster-process.js'))
    .map(({ pid }) => pid)

/** Pids of the processes that have answered a request. */
const answeredBy = ({ lines }: Pick<ApiProcess, 'lines'>) =>
  new Set(lines.filter(({ message }) => message === 'request').map(({ pid }) => pid))

/** Resolves with the status, on a connection of its own. */
function statusOf(api: Pick<ApiProcess, 'baseUrl'>, path: string, token: string) {
  return new Promise<number | undefined>((resolve, reject) => {
    const headers = { Authorization: `Bearer ${token}` }
    request(new URL(path, api.baseUrl), { agent: false, headers }, (response) => {
      response.on('error', reject).on('end', () => resolve(response.statusCode))
      response.resume()
    })
      .on('error', reject)
      .end()
  })
}

test('a log that cannot be written ends no process', async (context) => {
  const service = await createServiceOf(2, context)
  const api = await service.start()
  const workers = workersOf(api)
  api.child.stdout?.destroy()
  api.child.stderr?.destroy()
  const { token } = await createClient(api).register()
  await atOnce(50, () => statusOf(api, '/api/tasks/', token))
  expect(workersOf(api)).toEqual(workers)
})

/** Resolves when the descendants of the process have ended, and its port is free. */
async function untilGone(api: ApiProcess, descendants: ReturnType<typeof descendantsOf>) {
  const left = () => descendants.filter(({ token }) => isRunning(token)).map(({ command }) => command)
  await vi.waitFor(() => expect(left()).toEqual([]), patience)
  const { hostname, port } = new URL(api.baseUrl)
  const refused = await new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => resolve(socket.destroy() && 'taken'))
    socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code))
  })
  expect(refused).toBe('ECONNREFUSED')
}

test('four processes serve, and together keep the limit under three times as many requests at once', async (context) => {
  const service = await createServiceOf(4, context, { RATE_LIMIT_USER: '100/60s' })
  const api = await service.start()
  const burst = async () => {
    const { token } = await createClient(api).register()
    return atOnce(300, () => createClient(api).request('GET', '/api/tasks/', { token }))
  }
  const answers = await withStoreThere([api], () => inOneWindow(60, burst))
  expect(statuses(answers).filter((status) => status === 200)).toHaveLength(100)
  expect(statuses(answers).filter((status) => status === 429)).toHaveLength(200)
  const { token } = await createClient(api).register()
  await vi.waitFor(async () => {
    await atOnce(20, () => statusOf(api, '/api/rate-limit/', token))
    expect([...answeredBy(api)].sort()).toEqual(workersOf(api).sort())
  }, patience)
})

test('each process reads the writes of the others; each completion is notified once', async (context) => {
  const service = await createServiceOf(4, context)
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  await atOnce(40, async (i) => {
    const task = await client.createTask(token, { title: `Task ${i}` })
    // Once into the cache, then changed.
    await client.request('GET', taskPath(task), { token })
    await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
    const answers = await atOnce(4, () => client.request('GET', taskPath(task), { token }))
    expect(answers.map(({ body }) => body.status)).toEqual(Array(4).fill('completed'))
  })
  const left = () => service.query('select id from outbox')
  await vi.waitFor(async () => expect(await left()).toEqual([]), patience)
  const told = service.webhook.received.map(({ body }) => JSON.parse(body).event.id)
  expect(new Set(told).size).toBe(40)
  // Only a failed delivery, on a busy machine, may be repeated.
  const failed = service.lines().filter(({ message }) => message === 'event not delivered')
  expect(told.length - 40).toBeLessThanOrEqual(failed.length)
})

test('a killed process loses only its requests under way, and is replaced', async (context) => {
  const service = await createServiceOf(3, context)
  const api = await service.start()
  const { token } = await createClient(api).register()
  let going = true
  let answered = 0
  const clients = 12
  const failures: { begun: number }[] = []
  const load = atOnce(clients, async () => {
    while (going) {
      const begun = performance.now()
      const status = await statusOf(api, '/api/tasks/', token).catch(() => undefined)
      if (status === 200) answered++
      else failures.push({ begun })
    }
  })
  const died = () => api.lines.filter(({ message }) => message === 'API process died')
  for (const turn of [1, 2, 3]) {
    const before = new Set(workersOf(api))
    expect(before.size).toBe(3)
    const [victim = 0] = before
    const failedBefore = failures.length
    const killedAt = performance.now()
    endProcess(victim)
    await vi.waitFor(() => expect(died()).toHaveLength(turn), patience)
    const noticedAt = performance.now()
    expect(died().at(-1)).toMatchObject({ pid: victim, signal: 'SIGKILL' })
    const serves = () => workersOf(api).find((pid) => !before.has(pid) && answeredBy(api).has(pid))
    await vi.waitFor(() => expect(serves()).toBeDefined(), patience)
    // It takes about a second; the machine may be busy.
    expect(performance.now() - killedAt).toBeLessThan(10_000)
    // Each client has one request under way.
    expect(failures.length - failedBefore).toBeLessThanOrEqual(clients)
    for (const { begun } of failures.slice(failedBefore)) expect(begun).toBeLessThan(noticedAt)
  }
  going = false
  await load
  expect(answered).toBeGreaterThan(100)
  expect(await api.stop()).toBe(0)
})

test('a process that dies repeatedly is restarted later and later, while the others serve', async (context) => {
  const service = await createServiceOf(2, context)
  const api = await service.start()
  const { token } = await createClient(api).register()
  const [steady] = workersOf(api)
  const delays = () =>
    api.lines
      .filter(({ message }) => message === 'API process died')
      .map(({ restart_in_ms: delay }) => delay as number)
  for (const turn of [1, 2, 3, 4, 5]) {
    const next = () => workersOf(api).find((pid) => pid !== steady)
    await vi.waitFor(() => expect(next()).toBeDefined(), patience)
    endProcess(next() ?? 0)
    await vi.waitFor(() => expect(delays()).toHaveLength(turn), patience)
    expect(await statusOf(api, '/api/tasks/', token)).toBe(200)
  }
  // The first may have lived long. Each of the others was killed at once.
  expect(delays().slice(1)).toEqual([200, 400, 800, 1600])
})

test('metrics are sums over all processes, and do not fall when one ends or is stuck', async (context) => {
  const service = await createServiceOf(3, context, { METRICS_PORT: '0' })
  const api = await service.start()
  const { token } = await createClient(api).register()
  const ask = (count: number) => atOnce(count, () => statusOf(api, '/api/rate-limit/', token))
  const asked = async () =>
    sumOf(await scrape(api), 'http_request_duration_seconds_count', { route: '/api/rate-limit/' })
  await ask(60)
  expect(await asked()).toBe(60)
  const told = await scrape(api)
  const processes = () =>
    told.samples
      .filter(({ name }) => name === 'process_start_time_seconds')
      .map(({ labels }) => labels.process)
  expect(processes()).toEqual(['primary', '1', '2', '3'])
  // Counted by one process only; otherwise it would be three times as much.
  await service.query(`insert into outbox (payload, next_attempt_at) values ('{}', 'infinity')`)
  await vi.waitFor(async () => expect(sumOf(await scrape(api), 'outbox_events')).toBe(1), patience)

  const [victim = 0, stuck = 0] = workersOf(api)
  endProcess(victim)
  await api.line(({ message }) => message === 'API process died')
  expect(await asked()).toBe(60)
  await vi.waitFor(() => expect(workersOf(api)).toHaveLength(3), patience)
  await ask(20)
  await vi.waitFor(async () => expect(await asked()).toBe(80), patience)

  process.kill(stuck, 'SIGSTOP')
  expect(await asked()).toBe(80)
  process.kill(stuck, 'SIGCONT')
  await ask(5)
  await vi.waitFor(async () => expect(await asked()).toBe(85), patience)
})

test('SIGKILL of the primary leaves no process; the next start works', async (context) => {
  const service = await createServiceOf(3, context, { PORT: String(await findFreePort()) })
  const api = await service.start()
  const user = await createClient(api).register()
  const task = await createClient(api).createTask(user.token)
  const descendants = descendantsOf(api.child)
  const begun = performance.now()
  api.child.kill('SIGKILL')
  await untilGone(api, descendants)
  expect(performance.now() - begun).toBeLessThan(stopLimitMs)
  const next = await service.start()
  expect(next.baseUrl).toBe(api.baseUrl)
  const { body } = await createClient(next).request('GET', taskPath(task), { token: user.token })
  expect(body).toEqual(task)
})

test.for([
  ['SIGTERM', 'the process alone'],
  ['SIGTERM', 'its group'],
  ['SIGINT', 'its group'],
] as const)('%s to %s: what is under way is answered, nothing is left', async ([signal, to], context) => {
  const service = await createServiceOf(3, context)
  const environment = { ...service.settings, PORT: '0', DATA_DIR: service.dataDirectory }
  // A process group of its own, as in a terminal.
  const command = [process.execPath, join(root, 'dist/api.js')] as const
  const program = service.startProgram([...command], { environment, detached: true })
  const { url } = await program.line(({ message }) => message === 'listening')
  const api = { ...program, baseUrl: String(url), addressHeader: 'X-Forwarded-For' } as ApiProcess
  const client = createClient(api)
  const uploads = await atOnce(6, async () => beginUpload(api, await client.register()))
  const descendants = descendantsOf(api.child)
  const begun = performance.now()
  const exited = new Promise((resolve) => api.child.once('exit', resolve))
  process.kill(to === 'its group' ? -Number(api.child.pid) : Number(api.child.pid), signal)
  await api.line(({ message }) => message === 'stopping')
  for (const upload of uploads) upload.finish()
  const answers = await Promise.all(uploads.map(({ answered }) => answered))
  expect(answers.map(({ status }) => status)).toEqual(uploads.map(() => 201))
  expect(await exited).toBe(0)
  expect(performance.now() - begun).toBeLessThan(stopLimitMs)
  await untilGone(api, descendants)
})

test('a second SIGTERM shortens the shutdown', async (context) => {
  const service = await createServiceOf(3, context)
  const api = await service.start()
  const upload = await beginUpload(api, await createClient(api).register())
  const descendants = descendantsOf(api.child)
  const exited = new Promise((resolve) => api.child.once('exit', resolve))
  api.child.kill()
  // Within a second it counts as the same signal, forwarded by npm.
  const signals = setInterval(() => api.child.kill(), 200)
  expect(await exited).toBe(1)
  clearInterval(signals)
  await expect(upload.answered).rejects.toThrow()
  await untilGone(api, descendants)
})

test('a port in use stops the start with one line, and leaves no process', async (context) => {
  const other = createServer()
  context.onTestFinished(() => void other.close())
  const port = await listenOnLoopback(other)
  const service = await createServiceOf(3, context)
  const environment = { ...service.settings, PORT: String(port), DATA_DIR: service.dataDirectory }
  const program = service.startProgram([process.execPath, join(root, 'dist/api.js')], { environment })
  const ended = new Promise((resolve) => program.child.once('close', resolve))
  expect(await ended).toBe(1)
  const told = program.lines.flatMap(({ text }) => text ?? [])
  expect(told).toEqual([expect.stringMatching(`^PORT: ${port} on 127.0.0.1 is taken .* another port$`)])
})
