/**
 * Two instances behind nginx or HAProxy are restarted in turn during writes: no request fails and none is
 * lost.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { type Client, createClient, type Task } from '../support/client.ts'
import { startHaproxy } from '../support/haproxy.ts'
import { startNginx } from '../support/nginx.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres } from '../support/postgres.ts'
import { type ApiProcess, migrateDatabase, startApi } from '../support/processes.ts'
import { startTestRedis } from '../support/redis.ts'

const writers = 8
const rounds = 2
/** HAProxy requests /readyz every second. */
const shutdownDelay = '3s'

/** Each writer sends one request after the other until `end`. */
function startWriting({ request }: Client, token: string) {
  let ended = false
  const acknowledged: number[] = []
  const failures: unknown[] = []
  async function write(index: number) {
    for (let count = 0; !ended; count++) {
      const json = { title: `${index}/${count}` }
      await request('POST', '/api/tasks/', { token, json }).then(
        ({ status, body }) =>
          void (status === 201 ? acknowledged.push(body.id) : failures.push([status, body])),
        (error: unknown) => void failures.push(error),
      )
      // Leaves time of the processor for the instances that start.
      await sleep(10)
    }
  }
  const all = Promise.all(Array.from({ length: writers }, (_, index) => write(index)))
  return {
    acknowledged,
    failures,
    async end() {
      ended = true
      await all
    },
  }
}

async function allTasks({ request }: Client, token: string): Promise<number[]> {
  const ids: number[] = []
  for (let url: string | null = '/api/tasks/?limit=100'; url; ) {
    const { status, body } = await request('GET', url, { token })
    expect(status).toBe(200)
    ids.push(...body.results.map(({ id }: Task) => id))
    url = body.next
  }
  return ids
}

test.for([
  { name: 'nginx', startProxy: startNginx, processes: 1, signal: 'SIGTERM' },
  { name: 'HAProxy', startProxy: startHaproxy, processes: 1, signal: 'SIGHUP' },
  { name: 'nginx', startProxy: startNginx, processes: 2, signal: 'SIGTERM' },
] as const)('$name, $processes process(es) each, restarted by $signal', async (setup, { onTestFinished }) => {
  const postgres = await startTestPostgres()
  onTestFinished(postgres.stop)
  await migrateDatabase(postgres.url())
  const redis = setup.processes > 1 ? await startTestRedis() : undefined
  onTestFinished(async () => redis?.stop())

  const ports = [await findFreePort(), await findFreePort()] as const
  const start = (port: number) =>
    startApi({
      environment: {
        PORT: String(port),
        DATABASE_URL: postgres.url(),
        JWT_SECRET: 'the secret that both instances sign tokens with',
        SHUTDOWN_DELAY: shutdownDelay,
        WEB_CONCURRENCY: String(setup.processes),
        RATE_LIMIT_USER: '1000000/60s',
        ...(redis ? { REDIS_URL: redis.url } : {}),
      },
    })
  const instances: ApiProcess[] = [await start(ports[0]), await start(ports[1])]
  onTestFinished(async () => {
    await Promise.all(instances.map(({ stop }) => stop('SIGKILL')))
  })
  const [a, b] = ports.map((port) => `http://127.0.0.1:${port}`) as [string, string]
  const proxy = await setup.startProxy(a, b)
  onTestFinished(proxy.stop)

  const client = createClient({ baseUrl: proxy.baseUrl, addressHeader: 'X-Forwarded-For' })
  const { token } = await client.register()
  const writing = startWriting(client, token)
  for (let round = 0; round < rounds; round++) {
    for (const [index, port] of ports.entries()) {
      const before = writing.acknowledged.length
      expect(await instances[index]?.stop(setup.signal)).toBe(0)
      instances[index] = await start(port)
      // Like a deployment, waits until the proxy knows the new instance.
      await sleep(1500)
      expect(writing.acknowledged.length).toBeGreaterThan(before)
    }
  }
  await writing.end()

  // A restart refuses connections; other complaints of the proxy explain a failure.
  const complaints = proxy.said().replace(/^.*Connection refused.*$/gm, '')
  expect(writing.failures, complaints).toEqual([])
  const stored = await allTasks(client, token)
  expect(stored.sort((x, y) => x - y)).toEqual(writing.acknowledged.sort((x, y) => x - y))
})
