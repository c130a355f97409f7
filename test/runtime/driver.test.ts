/**
 * The private members and faults of postgres.js that src/runtime/postgres/driver.ts depends on, on real
 * connections.
 */
import { spawnSync } from 'node:child_process'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ValueTypes } from '../../src/ports/database.ts'
import {
  cancel,
  hostWithColon,
  isLostWrite,
  isSent,
  sameClient,
  textQuery,
  withoutHoles,
} from '../../src/runtime/postgres/driver.ts'
import { valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { root } from '../support/directories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

let server: TestPostgres
let sql: postgres.Sql<ValueTypes>
beforeAll(async () => {
  server = await startTestPostgres()
  sql = postgres(server.url(), { ...valueOptions, max: 1 })
  await sql`select 1`
})
afterAll(async () => {
  await sql?.end()
  await server?.stop()
})

test('a statement has no state until a connection has taken it', async () => {
  const [slow, waiting] = [sql`select pg_sleep(0.2)`, sql`select 1`]
  expect([isSent(slow), isSent(waiting)]).toEqual([false, false])
  slow.execute()
  await expect.poll(() => isSent(slow)).toBe(true)
  await Promise.all([slow, waiting])
  expect(isSent(waiting)).toBe(true)
  const never = postgres('postgres://nobody@127.0.0.1:1/none', { max: 1 })`select 1`
  await expect(never).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  expect(isSent(never)).toBe(false)
})

test('a statement under way is cancelled by its canceller', async () => {
  const slow = sql`select pg_sleep(60)`
  const outcome = slow.then(
    () => 'done',
    (error) => error.code,
  )
  await expect.poll(() => isSent(slow)).toBe(true)
  const cancelling = setInterval(() => cancel(slow), 50)
  expect(await outcome).toBe('57014')
  clearInterval(cancelling)
})

test('a text without values takes the extended protocol, which refuses a second statement', async () => {
  expect(await textQuery(sql, 'select 1 as one')).toEqual([{ one: 1 }])
  await expect(textQuery(sql, 'select 1; select 2')).rejects.toMatchObject({ code: '42601' })
})

test('a client is made from the options of another', async () => {
  const other = sameClient(sql as unknown as postgres.Sql)
  expect(await other`select current_user as name`).toEqual(await sql`select current_user as name`)
  await other.end()
})

test('a host with a colon stays whole', () => {
  expect(postgres(hostWithColon('::1', 5433)).options).toMatchObject({ host: ['::1'], port: [5433] })
})

test('rows after a failure within an answer begin at index 0', async () => {
  const failing = sql`select 1 / (3 - n) as n from generate_series(1, 5) n`
  await expect(failing).rejects.toMatchObject({ code: '22012' })
  const rows = await sql`select n from generate_series(1, 2) n`
  // Once this is true, withoutHoles can go.
  expect(0 in rows).toBe(false)
  expect([...withoutHoles(rows)]).toEqual([{ n: 1 }, { n: 2 }])
})

test('a write to a connection that closed in a transaction is recognised', () => {
  const script = `
    import postgres from 'postgres'
    process.on('uncaughtException', ({ name, message, stack }) => {
      console.log(JSON.stringify({ name, message, stack }))
      process.exit()
    })
    const sql = postgres(${JSON.stringify(server.url())}, { max: 1 })
    sql.begin(async (tx) => {
      await tx\`select pg_terminate_backend(pg_backend_pid())\`.catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 100))
      await tx\`select 1\`
    }).catch(() => {})`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: root,
    encoding: 'utf8',
    timeout: 60_000,
  })
  expect(stdout, stderr).toMatch(/^\{/)
  const { name, message, stack } = JSON.parse(stdout)
  expect(name).toBe('TypeError')
  expect(isLostWrite(Object.assign(new TypeError(message), { stack }))).toBe(true)
  expect(isLostWrite(new TypeError(message))).toBe(false)
})
