/** A program beside a newer schema, as in a rolling upgrade and after a rollback. */
import { execFileSync } from 'node:child_process'
import { readdir, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { schemaVersion } from '../../src/ports/schema-version.ts'
import { createClient, taskPath } from '../support/client.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
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

const git = (...args: string[]) =>
  execFileSync('git', ['-c', 'safe.directory=*', ...args], { cwd: root, maxBuffer: 2 ** 28 })

/** Builds the last program before the newest migration. Undefined where the checkout has no such history. */
async function buildPredecessor(directory: string): Promise<string | undefined> {
  const newest = (await readdir(join(root, 'sql'))).sort().at(-1)
  try {
    const added = git('log', '-1', '--format=%H', '--diff-filter=A', '--', `sql/${newest}`).toString().trim()
    execFileSync('tar', ['-x', '-C', directory], { input: git('archive', added ? `${added}~1` : 'HEAD') })
  } catch {
    return undefined
  }
  await symlink(join(root, 'node_modules'), join(directory, 'node_modules'))
  execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: directory })
  return directory
}

test('the last program before the newest migration serves beside it', async (context) => {
  const directory = await temporaryDirectory()
  context.onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const predecessor = await buildPredecessor(directory)
  context.skip(predecessor === undefined, 'the checkout has no history')
  const url = server.url(await server.createDatabase())
  await migrateDatabase(url)
  const service = await createService(context, { DATABASE_URL: url, JWT_SECRET: 'x'.repeat(32) })
  const client = createClient(await service.start(predecessor))
  const [{ token, id }, other] = [await client.register(), await client.register()]
  const keyed = { token, json: { title: 'Once' }, headers: { 'Idempotency-Key': 'k' } }
  const created = await client.request('POST', '/api/tasks/', keyed)
  expect(created).toMatchObject({ status: 201, body: { title: 'Once', status: 'pending', created_by: id } })
  expect((await client.request('POST', '/api/tasks/', keyed)).body).toEqual(created.body)
  const path = taskPath(created.body)
  const read = await client.request('GET', path, { token })
  const change = { token, json: { status: 'completed', assigned_to: other.id } }
  const changed = await client.request('PATCH', path, change)
  expect(changed).toMatchObject({ status: 200, body: change.json })
  expect(changed.headers.get('ETag')).not.toBe(read.headers.get('ETag'))
  const list = await client.request('GET', '/api/tasks/?ordering=-title&count=true', { token: other.token })
  expect(list.body).toMatchObject({ count: 1, results: [changed.body] })
  await expect.poll(() => service.webhook.received.length, { timeout: 60_000 }).toBe(1)
  expect((await client.request('DELETE', path, { token })).status).toBe(204)
})
