/** A program beside a newer schema, as in a rolling upgrade and after a rollback. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { schemaVersion } from '../../src/ports/schema-version.ts'
import { createClient, taskPath } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { createService, migrateDatabase } from '../support/processes.ts'

let server: TestPostgres

beforeAll(async () => {
  server = await startTestPostgres()
})
afterAll(() => server?.stop())

/** Changes the schema like a next release: one more column in each table to which requests write. */
const later = `
  alter table users add column later text not null default 'a';
  alter table sessions add column later text not null default 'b';
  alter table tasks add column later text not null default 'c';
  alter table outbox add column later text not null default 'd';
  insert into schema_migrations (version, name, checksum) values (${schemaVersion + 1}, '1000_later.sql', '')`

test('it keeps running, restarts and serves', async (context) => {
  const name = await server.createDatabase()
  const url = server.url(name)
  await migrateDatabase(url)
  const service = await createService(context, { DATABASE_URL: url, JWT_SECRET: 'x'.repeat(32) })
  const before = await service.start()
  const { token } = await createClient(before).register()
  const task = await createClient(before).createTask(token)

  await server.sql(name).unsafe(later)
  const change = { token, json: { title: 'Changed beside the newer schema' } }
  expect((await createClient(before).request('PATCH', taskPath(task), change)).status).toBe(200)
  expect(await before.stop()).toBe(0)

  const after = await service.start()
  const client = createClient(after)
  expect((await client.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  const complete = await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  expect(complete.body).toMatchObject({ title: change.json.title, status: 'completed' })
  await client.createTask(token)
  expect((await client.request('GET', '/api/tasks/', { token })).body.results).toHaveLength(2)
  expect(service.lines()).toContainEqual(
    expect.objectContaining({
      level: 'warn',
      message: 'the schema is newer than the program, as in a rolling upgrade',
      program: schemaVersion,
      schema: schemaVersion + 1,
    }),
  )
})
