/** The folded text for searches: the same on every server, filled in beside the running service. */
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { readMigrations } from '../../src/runtime/postgres/migration-files.ts'
import { migrate } from '../../src/runtime/postgres/migrations.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { fillSearchText } from '../../src/tasks/fill-search-text.ts'
import { listTasks } from '../../src/tasks/queries.ts'
import { TaskListQuery } from '../../src/tasks/schemas.ts'
import { createClient } from '../support/client.ts'
import { root } from '../support/directories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startApi } from '../support/processes.ts'
import { folded, hasYoungLetters } from '../support/search-model.ts'

let server: TestPostgres
beforeAll(async () => {
  server = await startTestPostgres()
})
afterAll(() => server?.stop())

const quiet = { info: () => {} }
const never = new AbortController().signal
const migrations = await readMigrations(join(root, 'sql'))
const columnAt = migrations.findIndex(({ name }) => name.endsWith('_search_text.sql'))

/** A database with tasks from before the column existed, and with all migrations. */
async function openUpgraded(tasks: number) {
  const name = await server.createDatabase()
  const sql = server.sql(name)
  await migrate(sql, migrations.slice(0, columnAt), quiet)
  await sql`insert into users (id, username, password_hash) values (1, 'ann', 'none')`
  await sql`insert into sessions (id, user_id, salt, expires_at) values (1, 1, '', 'infinity')`
  await sql`
    insert into tasks (title, description, status, created_by, created_at)
    select 'Ärger ' || n, case when n % 2 = 0 then 'ΟΔΟΣ' end, case when n % 3 = 0 then 'completed' else 'pending' end,
      1, now() - n * interval '1 minute'
    from generate_series(1, ${tasks}::integer) n`
  await sql`truncate outbox`
  await migrate(sql, migrations, quiet)
  const connect = (own: object) => postgres(server.url(name), { ...valueOptions, ...own })
  const db = createDatabase(connect, { poolSize: 3, timeoutMs: 60_000 })
  const search = async (text: string) => {
    const query = TaskListQuery.parse({ search: text, count: 'true' })
    return (await listTasks(db, { userId: 1, sessionId: 1 }, query, null))?.count
  }
  const missing = async () =>
    (await sql<[{ count: number }]>`select count(*)::integer from tasks where search_text is null`)[0].count
  return { name, sql, db, search, missing }
}

test('Postgres folds every character like the model, except letters newer than its ICU', async () => {
  const sql = server.sql(await server.createDatabase())
  await migrate(sql, migrations, quiet)
  // Planes 0 to 3 and the variation selectors. The other planes have no letters.
  const rows = await sql<{ code: number; text: string; again: string }[]>`
    select n as code, text, fold_text(text) as again
    from (select n, fold_text(chr(n)) as text from generate_series(1, ${0x323af}::integer) n
      where n not between ${0xd800} and ${0xdfff}
      union all select n, fold_text(chr(n)) from generate_series(${0xe0000}::integer, ${0xe01ff}::integer) n) folded`
  const differing: string[] = []
  for (const { code, text } of rows) {
    const character = String.fromCodePoint(code)
    if (text !== folded(character)) differing.push(character)
  }
  expect(differing.filter((character) => !hasYoungLetters(character))).toEqual([])
  expect(rows.filter(({ text, again }) => again !== text)).toEqual([])
})

test('tasks from before the upgrade are found at once, and filling in changes nothing else', async () => {
  const { sql, db, search, missing } = await openUpgraded(1200)
  const snapshot = () =>
    sql`select id, title, description, status, created_at, updated_at, completed_at, version, revision from tasks order by id`
  const before = await snapshot()
  expect(await missing()).toBe(1200)
  expect([await search('arger'), await search('ὁδός arger'), await search('none')]).toEqual([1200, 600, 0])

  // Concurrent writers fill in their own tasks. Neither side waits for the other.
  const writer = await sql.reserve()
  await writer`begin`
  await writer`update tasks set status = 'pending' where id = 7`
  await writer`select from tasks where id = 8 for update`
  await fillSearchText(db, never)
  expect(await missing()).toBe(2)
  await writer`commit`
  writer.release()
  expect(await missing()).toBe(1)
  await fillSearchText(db, never)
  expect(await missing()).toBe(0)

  expect(await snapshot()).toEqual(before)
  expect(await sql`select from outbox`).toEqual([])
  expect([await search('arger'), await search('ὁδός arger'), await search('none')]).toEqual([1200, 600, 0])
  expect(
    await sql`select distinct search_text like E'arger %\nοδοσ' as found from tasks where id % 2 = 0`,
  ).toEqual([{ found: true }])
})

test('filling in can be aborted and continued', async () => {
  const { db, missing } = await openUpgraded(1200)
  await fillSearchText(db, AbortSignal.abort())
  expect(await missing()).toBe(1200)
  await Promise.all([fillSearchText(db, never), fillSearchText(db, never)])
  expect(await missing()).toBe(0)
})

test('the running service fills in the column', async () => {
  const { name, missing } = await openUpgraded(1200)
  const api = await startApi({ environment: { DATABASE_URL: server.url(name), JWT_SECRET: 'x'.repeat(32) } })
  await expect.poll(missing, { timeout: 60_000 }).toBe(0)
  await api.stop()
})

async function startService({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const name = await server.createDatabase()
  const sql = server.sql(name)
  await migrate(sql, migrations, quiet)
  const limits = { RATE_LIMIT_USER: '1000/60s', RATE_LIMIT_ANONYMOUS: '1000/60s' }
  const environment = {
    DATABASE_URL: server.url(name),
    JWT_SECRET: 'x'.repeat(32),
    ...limits,
    BCRYPT_COST: '4',
  }
  const api = await startApi({ environment })
  onTestFinished(async () => void (await api.stop()))
  return { name, sql, ...createClient(api) }
}

test('a user has one heavy statement at a time; others wait, and are answered 503 without a turn', async (context) => {
  const { name, sql, register, request } = await startService(context)
  const [ann, bob] = [await register(), await register()]
  const running = async () =>
    (
      await sql`select from pg_stat_activity where datname = ${name} and query like '%search_words%' and state = 'active'
      and pid <> pg_backend_pid()`
    ).length

  // While the table is locked no search ends.
  const locking = await sql.reserve()
  await locking`begin`
  await locking`lock table tasks`
  const search = (token: string) => request('GET', '/api/tasks/?search=a', { token })
  const searches = Array.from({ length: 30 }, () => search(ann.token))
  await expect.poll(running, { timeout: 10_000 }).toBe(1)
  const other = search(bob.token)
  await expect.poll(running, { timeout: 10_000 }).toBe(2)
  const answers = await Promise.all([...searches, other])
  for (const { status, headers, body } of answers) {
    expect(status, JSON.stringify(body)).toBe(503)
    expect(headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
    expect(body.detail).toMatch(/search/)
  }
  await locking`rollback`
  locking.release()
  expect((await search(ann.token)).status).toBe(200)
})

test('a search in long texts of one letter is cheap and holds up no others', async (context) => {
  const { sql, register, request, createTask } = await startService(context)
  const [ann, bob] = [await register(), await register()]
  await sql`
    insert into tasks (title, description, created_by)
    select 'long', repeat('a', 10000), ${ann.id} from generate_series(1, 1000)`
  await createTask(bob.token, { title: 'Bob’s' })
  const worst = [`b${'a'.repeat(99)}`, `${'a'.repeat(99)}b`, `${'a'.repeat(50)}b${'a'.repeat(49)}`]
  const searches = Array.from({ length: 15 }, (_, i) =>
    request('GET', `/api/tasks/?search=${worst[i % worst.length]}`, { token: ann.token }),
  )
  const others = Array.from({ length: 10 }, () =>
    request('GET', '/api/tasks/?search=bob&count=true', { token: bob.token }),
  )
  for (const { status, body } of await Promise.all(others)) {
    expect(status, JSON.stringify(body)).toBe(200)
    expect(body.count).toBe(1)
  }
  const statuses = (await Promise.all(searches)).map(({ status }) => status)
  // Those whose turn does not come within two seconds are refused; the product of both lengths would let two
  // through.
  expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(3)
})
