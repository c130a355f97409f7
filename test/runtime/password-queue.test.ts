/**
 * The password queue over HTTP, on the runtimes that have one: a client that floods it keeps nobody else from
 * logging in.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { atOnce, createClient, newName, statuses, type User } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'
import { bundleWorkers, startWorkers } from '../support/workerd-targets.ts'

type Service = { baseUrl: string; stop(): Promise<unknown> }

const settings = {
  JWT_SECRET: 'x'.repeat(32),
  TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
  RATE_LIMIT_USER: '1000000/60s',
  RATE_LIMIT_ANONYMOUS: '1000000/60s',
  RATE_LIMIT_LOGIN: '1000000/60s',
}

const runtimes: Record<string, (databaseUrl: string) => Promise<Service>> = {
  Node: (databaseUrl) => startApi({ environment: { DATABASE_URL: databaseUrl, ...settings } }),
  workerd: async (databaseUrl) => {
    const { url, stop } = await startWorkers(await bundleWorkers(), databaseUrl, settings)
    return { baseUrl: url, stop }
  },
}

describe.each(Object.entries(runtimes))('on %s', (_, start) => {
  let server: TestPostgres
  let service: Service

  beforeAll(async () => {
    server = await startTestPostgres()
    await migrateDatabase(server.url())
    service = await start(server.url())
  })
  afterAll(async () => {
    await service?.stop()
    await server?.stop()
  })

  const newClient = (address?: string) =>
    createClient({ baseUrl: service.baseUrl, addressHeader: 'X-Forwarded-For' }, address)
  const guess = (client: ReturnType<typeof newClient>, { token }: User) =>
    client.request('DELETE', '/api/users/me/', { token, json: { password: 'wrong horse' } })

  test('twenty concurrent registrations from one address all succeed', async () => {
    const client = newClient()
    const answers = await atOnce(20, () =>
      client.request('POST', '/api/register/', { json: { username: newName(), password: 'correct horse' } }),
    )
    expect(statuses(answers)).toEqual(Array(20).fill(201))
  })

  test('a flood from one address with many accounts does not keep others from logging in', async () => {
    const [flooding, elsewhere] = [newClient(), newClient()]
    const ann = await elsewhere.register()
    const accounts = await Promise.all(Array.from({ length: 4 }, () => newClient().register()))
    let answered = 0
    const flood = Promise.all(
      accounts.flatMap((account) =>
        Array.from({ length: 40 }, () => guess(flooding, account).finally(() => answered++)),
      ),
    )
    // The first refusals show that the queue is full.
    const refused = await Promise.race([flood.then(() => 0), untilAnswered()])
    expect(refused).toBeGreaterThan(0)
    for (let i = 0; i < 3; i++) {
      const login = await elsewhere.request('POST', '/api/token/', {
        json: { username: ann.username, password: ann.password },
      })
      expect(login.status).toBe(200)
    }
    // The log-ins were served during the flood, not after it.
    expect(answered).toBeLessThan(160)
    const seen = statuses(await flood)
    expect(seen.filter((status) => status === 400).length).toBeGreaterThanOrEqual(10)
    expect(seen.filter((status) => status !== 400 && status !== 503)).toEqual([])

    async function untilAnswered() {
      while (answered < 20) await new Promise((resolve) => setTimeout(resolve, 10))
      return answered
    }
  })

  test('clients that leave free their places in the queue', async () => {
    const client = newClient()
    const ann = await client.register()
    for (let round = 0; round < 3; round++) {
      const leaving = new AbortController()
      const gone = Promise.allSettled(
        Array.from({ length: 30 }, () =>
          fetch(new URL('/api/token/', service.baseUrl), {
            method: 'POST',
            signal: leaving.signal,
            headers: { 'Content-Type': 'application/json', 'X-Forwarded-For': client.address },
            body: JSON.stringify({ username: ann.username, password: 'wrong horse' }),
          }),
        ),
      )
      await new Promise((resolve) => setTimeout(resolve, 300))
      leaving.abort()
      await gone
    }
    await newClient().logIn(ann.username, ann.password)
  })
})
