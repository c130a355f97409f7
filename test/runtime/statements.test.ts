/** A task request is one statement to Postgres, counted at the server. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Client, createClient, type RequestOptions, type User } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startPostgresProxy } from '../support/postgres-proxy.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'
import { bundleWorkers, startWorkers } from '../support/workerd-targets.ts'

type Service = { baseUrl: string; stop(): Promise<unknown> }

const settings = { JWT_SECRET: 'x'.repeat(32), RATE_LIMIT_ANONYMOUS: '1000/60s' }

const runtimes: Record<string, (databaseUrl: string) => Promise<Service>> = {
  Node: (databaseUrl) => startApi({ environment: { DATABASE_URL: databaseUrl, ...settings } }),
  workerd: async (databaseUrl) => {
    const { url, stop } = await startWorkers(await bundleWorkers(), databaseUrl, settings)
    return { baseUrl: url, stop }
  },
}

describe.each(Object.entries(runtimes))('on %s', (_, start) => {
  let server: TestPostgres
  let proxy: Awaited<ReturnType<typeof startPostgresProxy>>
  let service: Service
  let client: Client
  let user: User

  beforeAll(async () => {
    server = await startTestPostgres()
    await migrateDatabase(server.url())
    proxy = await startPostgresProxy(server.url())
    service = await start(proxy.url)
    client = createClient({ baseUrl: service.baseUrl, addressHeader: 'X-Test-Address' })
    user = await client.register()
  })

  afterAll(async () => {
    await service?.stop()
    proxy?.close()
    await server?.stop()
  })

  /** Without the statements of the relay, the notifier and the readiness check. */
  const ofRequests = (statement: string) => !/\b(outbox|notifier_events)\b/.test(statement)

  async function statementsOf(method: string, path: string, options: RequestOptions = {}, status = 200) {
    const before = proxy.executed.length
    const answer = await client.request(method, path, { token: user.token, ...options })
    expect(answer.status, JSON.stringify(answer.body)).toBe(status)
    return { answer, statements: proxy.executed.slice(before).filter(ofRequests) }
  }

  const newTask = async () => {
    const { body } = await client.request('POST', '/api/tasks/', {
      token: user.token,
      json: { title: 'One' },
    })
    return `/api/tasks/${body.id}/`
  }

  test.each([
    ['listing', 'GET', '/api/tasks/'],
    [
      'listing with every filter',
      'GET',
      '/api/tasks/?status=pending&assigned_to=me&created_by=me&search=o&created_after=2020-01-01&updated_before=2100-01-01&ordering=title&count=true&limit=5',
    ],
  ])('%s is one statement', async (_, method, path) => {
    expect((await statementsOf(method, path)).statements).toHaveLength(1)
  })

  test('following a cursor is one statement', async () => {
    await newTask()
    await newTask()
    const { answer } = await statementsOf('GET', '/api/tasks/?limit=1')
    expect((await statementsOf('GET', answer.body.next)).statements).toHaveLength(1)
  })

  test('creating is one statement, completed or not', async () => {
    for (const status of ['pending', 'completed']) {
      const { statements } = await statementsOf(
        'POST',
        '/api/tasks/',
        { json: { title: 'One', status } },
        201,
      )
      expect(statements).toHaveLength(1)
    }
  })

  test('refusing an assignee is one statement', async () => {
    const json = { title: 'One', assigned_to: 999_999 }
    expect((await statementsOf('POST', '/api/tasks/', { json }, 400)).statements).toHaveLength(1)
    const path = await newTask()
    expect((await statementsOf('PUT', path, { json }, 400)).statements).toHaveLength(1)
  })

  test('creating with an Idempotency-Key is one statement, and so is its repeat', async () => {
    const options = { json: { title: 'One' }, headers: { 'Idempotency-Key': 'key' } }
    for (const _ of ['first', 'repeat']) {
      expect((await statementsOf('POST', '/api/tasks/', options, 201)).statements).toHaveLength(1)
    }
  })

  test('reading is one statement, found, unchanged or absent', async () => {
    const path = await newTask()
    const read = await statementsOf('GET', path)
    expect(read.statements).toHaveLength(1)
    const headers = { 'If-None-Match': read.answer.headers.get('ETag') ?? '' }
    expect((await statementsOf('GET', path, { headers }, 304)).statements).toHaveLength(1)
    expect((await statementsOf('GET', '/api/tasks/999999/', {}, 404)).statements).toHaveLength(1)
  })

  test('changing is one statement: PUT, PATCH, a completion, a failed precondition', async () => {
    const path = await newTask()
    const change = (method: string, json: object, headers = {}, status = 200) =>
      statementsOf(method, path, { json, headers }, status)
    const put = await change('PUT', { title: 'Two' })
    expect(put.statements).toHaveLength(1)
    const headers = { 'If-Match': put.answer.headers.get('ETag') ?? '' }
    expect((await change('PATCH', { description: 'More' }, headers)).statements).toHaveLength(1)
    expect((await change('PATCH', { status: 'completed' })).statements).toHaveLength(1)
    expect((await change('PATCH', { title: 'Three' }, headers, 412)).statements).toHaveLength(1)
  })

  test('deleting is one statement', async () => {
    const path = await newTask()
    expect((await statementsOf('DELETE', path, {}, 204)).statements).toHaveLength(1)
  })

  test('requests that no limit counts cause one statement a second at most', async () => {
    const begun = Date.now()
    const before = proxy.executed.length
    const free: [string, string, number][] = [
      ['GET', '/api/rate-limit/', 200],
      ['POST', '/api/rate-limit/', 405],
      ['OPTIONS', '/api/rate-limit/', 204],
      ['GET', '/api/rate-limit/?nonsense=1', 400],
    ]
    for (let i = 0; i < 50; i++) {
      const [method, path, status] = free[i % free.length] as (typeof free)[number]
      const answer = await client.request(method, path, { token: user.token })
      expect(answer.status).toBe(status)
    }
    const seconds = Math.floor((Date.now() - begun) / 1000)
    const statements = proxy.executed.slice(before).filter(ofRequests)
    expect(statements.length).toBeGreaterThan(0)
    expect(statements.length).toBeLessThanOrEqual(1 + seconds)
  })

  test.each([
    ['rate-limit', '/api/rate-limit/', 401],
    ['an unknown path', '/api/nothing/', 404],
    ['input that is refused', '/api/tasks/?nonsense=1', 401],
  ])('the token of an ended session causes one statement: %s', async (_, path, status) => {
    const { token, refreshToken } = await client.logIn(user.username, user.password)
    const ask = () => statementsOf('GET', path, { token }, status)
    await client.request('GET', '/api/rate-limit/', { token })
    await client.request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
    // It is forgotten at once.
    expect((await ask()).statements).toHaveLength(1)
    for (let i = 0; i < 3; i++) expect((await ask()).statements).toEqual([])
  })

  test('a request that the limiter or a bad token refuses causes no statement', async () => {
    expect((await statementsOf('GET', '/api/tasks/', { token: 'forged' }, 401)).statements).toEqual([])
  })
})
