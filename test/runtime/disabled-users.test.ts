/** A disabled user is no longer found or given tasks; the tasks that they have stay as they are. */
import type { Sql } from 'postgres'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Client, createClient, newName, taskPath, type User } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type ApiProcess, migrateDatabase, startApi } from '../support/processes.ts'
import { until } from './fixtures/embedded-postgres.ts'

let server: TestPostgres
let api: ApiProcess
let sql: Sql
let client: Client
let ann: User

beforeAll(async () => {
  server = await startTestPostgres()
  await migrateDatabase(server.url())
  sql = postgres(server.url(), { max: 4 })
  const limits = {
    RATE_LIMIT_ANONYMOUS: '10000/60s',
    RATE_LIMIT_USER: '10000/60s',
    RATE_LIMIT_REGISTER: '10000/1h',
  }
  const settings = { DATABASE_URL: server.url(), JWT_SECRET: 'x'.repeat(32), BCRYPT_COST: '4', ...limits }
  api = await startApi({ environment: settings })
  client = createClient({ baseUrl: api.baseUrl, addressHeader: 'X-Test-Address' })
  ann = await client.register()
})
afterAll(async () => {
  await api?.stop()
  await sql?.end()
  await server?.stop()
})

const disable = ({ id }: User) => sql`update users set disabled_at = now() where id = ${id}`
const enable = ({ id }: User) => sql`update users set disabled_at = null where id = ${id}`

async function disabledUser() {
  const user = await client.register()
  await disable(user)
  return user
}

const create = (assigned_to: number, headers: Record<string, string> = {}) =>
  client.request('POST', '/api/tasks/', { token: ann.token, json: { title: 'One', assigned_to }, headers })
const change = (method: string, task: { id: number }, json: object, headers: Record<string, string> = {}) =>
  client.request(method, taskPath(task), { token: ann.token, json, headers })

/** The answer to an assignee who was never there. */
const noSuchUser = { status: 400, body: { errors: [{ pointer: '/assigned_to' }] } }

test('a task cannot be given to a disabled user, who is told of as one who does not exist', async () => {
  const gone = await disabledUser()
  const unknown = await create(999_999_999)
  expect(unknown).toMatchObject(noSuchUser)
  const told = (answer: typeof unknown) => ({ ...answer.body, request_id: '' })
  const task = await client.createTask(ann.token)
  for (const answer of [
    await create(gone.id),
    await create(gone.id, { 'Idempotency-Key': newName() }),
    await change('PUT', task, { title: 'Two', assigned_to: gone.id }),
    await change('PATCH', task, { assigned_to: gone.id }),
    await change('PATCH', task, { assigned_to: gone.id }, { 'If-Match': '"no such tag"' }),
  ])
    expect(told(answer)).toEqual(told(unknown))
  expect((await client.request('GET', taskPath(task), { token: ann.token })).body).toEqual(task)
  await enable(gone)
  expect((await change('PATCH', task, { assigned_to: gone.id })).status).toBe(200)
})

test('an assignee who was disabled since stays, and is not checked again', async () => {
  const bob = await client.register()
  const task = await client.createTask(ann.token, { assigned_to: bob.id })
  await disable(bob)
  const { body: read } = await client.request('GET', taskPath(task), { token: ann.token })
  expect(read.assigned_to).toBe(bob.id)
  for (const [method, json] of [
    ['PUT', { ...read, title: 'Two' }],
    ['PATCH', { title: 'Three', assigned_to: bob.id }],
    ['PATCH', { assigned_to: bob.id }],
    ['PATCH', { status: 'completed' }],
  ] as const)
    expect(await change(method, task, json)).toMatchObject({ status: 200, body: { assigned_to: bob.id } })
  const stale = await change(
    'PATCH',
    task,
    { title: 'Four', assigned_to: bob.id },
    { 'If-Match': '"no such tag"' },
  )
  expect(stale.status).toBe(412)
  // Given away, the task cannot be given back.
  expect((await change('PATCH', task, { assigned_to: ann.id })).status).toBe(200)
  expect(await change('PATCH', task, { assigned_to: bob.id })).toMatchObject(noSuchUser)
})

test('a repeat with the same Idempotency-Key answers as the first did', async () => {
  const bob = await client.register()
  const key = { 'Idempotency-Key': newName() }
  const first = await create(bob.id, key)
  expect(first.status).toBe(201)
  await disable(bob)
  expect(await create(bob.id, key)).toMatchObject({ status: 201, body: first.body })
})

test('a disabled user is not found by name', async () => {
  const prefix = newName('found')
  const [here, gone] = [await client.register(`${prefix}-here`), await client.register(`${prefix}-gone`)]
  const search = async () => {
    const { body } = await client.request('GET', `/api/users/?search=${prefix}`, { token: ann.token })
    return body.results.map(({ id }: User) => id)
  }
  expect(await search()).toEqual([gone.id, here.id])
  await disable(gone)
  expect(await search()).toEqual([here.id])
  await enable(gone)
  expect(await search()).toEqual([gone.id, here.id])
})

test('whichever of a disabling and an assignment comes first, the other waits for it and sees it', async () => {
  const isWaiting = async () =>
    (await sql`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`)
      .length > 0

  const bob = await client.register()
  const assigned = await sql.begin(async (tx) => {
    await tx`update users set disabled_at = now() where id = ${bob.id}`
    const answer = create(bob.id)
    await until(isWaiting)
    return { answer }
  })
  expect(await assigned.answer).toMatchObject(noSuchUser)

  const cat = await client.register()
  const disabled = await sql.begin(async (tx) => {
    await tx`insert into tasks (title, created_by, assigned_to) values ('One', ${ann.id}, ${cat.id})`
    const done = disable(cat).execute()
    await until(isWaiting)
    return { done }
  })
  expect((await disabled.done).count).toBe(1)
})
