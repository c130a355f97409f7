/** What the accounts keep that no client sees. */
import { rm } from 'node:fs/promises'
import postgres from 'postgres'
import { expect, type TestContext, test } from 'vitest'
import {
  deleteUser,
  insertSession,
  lockUser,
  sessionsPerUser,
  updateUser,
} from '../../src/accounts/queries.ts'
import { findEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { deleteExpired } from '../../src/runtime/maintenance.ts'
import { bcryptjs } from '../../src/runtime/passwords/bcryptjs.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { lockTasksOf } from '../../src/tasks/access.ts'
import { createClient } from '../support/client.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { startTestPostgres } from '../support/postgres.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'

async function openDatabase({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const server = await startTestPostgres()
  onTestFinished(() => server.stop())
  await migrateDatabase(server.url())
  const connect = (own: object) => postgres(server.url(), { ...valueOptions, ...own })
  const db = createDatabase(connect, { poolSize: 2, timeoutMs: 60_000 })
  onTestFinished(() => db.close())
  return db
}

test('a session that ended while its password was checked changes nothing', async (context) => {
  const db = await openDatabase(context)
  await db.run((sql) => sql`insert into users (id, username, password_hash) values (7, 'ann', 'old')`)
  await db.run(
    (sql) => sql`
    insert into sessions (id, user_id, salt, expires_at, ended_at) values
      (1, 7, 'salt', 'infinity', now()), (2, 7, 'salt', 'infinity', null)`,
  )
  const change = { from: 'old', to: 'new', email: 'ann@example.com' }
  const [ended, live] = [
    { userId: 7, sessionId: 1 },
    { userId: 7, sessionId: 2 },
  ]
  const remove = (caller: typeof live, hash: string) =>
    db.transaction(async (tx) => {
      if (!(await lockUser(tx, caller, hash))) return false
      const audience = await lockTasksOf(tx, caller.userId, 10_000)
      await deleteUser(tx, caller.userId, 10_000)
      return audience
    })
  expect(await updateUser(db, ended, change)).toBeUndefined()
  expect(await remove(ended, 'old')).toBe(false)
  expect(await updateUser(db, { userId: 8, sessionId: 2 }, change)).toBeUndefined()
  expect(await updateUser(db, live, change)).toMatchObject({ id: 7, email: 'ann@example.com' })
  expect(await remove(live, 'old')).toBe(false)
  await db.run(
    (sql) => sql`
    insert into users (id, username, password_hash) values (8, 'bob', ''), (9, 'cat', ''), (10, 'dan', '')`,
  )
  await db.run(
    (sql) => sql`
    insert into tasks (title, created_by, assigned_to) values
      ('hers', 7, 8), ('hers too', 7, 8), ('her own', 7, null), ('given to her', 9, 7), ('not hers', 10, 8)`,
  )
  // Bob saw her tasks, Cat had given her one; what Dan sees has not changed.
  expect(((await remove(live, 'new')) || []).sort()).toEqual([8, 9])
})

test('a session too many ends the one of the same user that was used longest ago', async (context) => {
  const db = await openDatabase(context)
  await db.run(
    (sql) => sql`insert into users (id, username, password_hash) values (7, 'ann', ''), (8, 'bob', '')`,
  )
  await db.run(
    (sql) => sql`
      insert into sessions (id, user_id, salt, expires_at, last_used_at)
      select i, case when i % 2 = 0 then 7 else 8 end, '', 'infinity', now() - i * interval '1 second'
      from generate_series(10001, ${10_000 + 2 * sessionsPerUser}) i`,
  )
  const session = { salt: '', userAgent: null, expiresAt: Date.now() + 60_000 }
  for (const last of [0, 2]) {
    expect(await insertSession(db, { id: 7, passwordHash: '' }, session)).toMatchObject({ evicted: 1 })
    const ended = await db.run(
      (sql) => sql`select id from sessions where ended_at is not null order by id limit 1`,
    )
    expect(ended).toEqual([{ id: 10_000 + 2 * sessionsPerUser - last }])
  }
})

test('what is old enough is removed, however much it is, and nothing else', async (context) => {
  const db = await openDatabase(context)
  await db.run((sql) => sql`insert into users (id, username, password_hash) values (7, 'ann', '')`)
  await db.run(
    (sql) => sql`
      insert into sessions (id, user_id, salt, expires_at, ended_at) values
        (1, 7, '', now() + interval '1 day', null),
        (2, 7, '', now() + interval '1 day', now() - interval '23 hours'),
        (3, 7, '', now() - interval '23 hours', null),
        (4, 7, '', now() - interval '25 hours', null)`,
  )
  await db.run(
    (sql) => sql`
      insert into sessions (id, user_id, salt, expires_at, ended_at)
      select i, 7, '', now() + interval '1 day', now() - interval '25 hours' from generate_series(11, 20020) i`,
  )
  await db.run(
    (sql) => sql`
      insert into idempotency_keys (user_id, key, hash, task_id, response, created_at)
      select 7, i, '', 1, '{}', now() - i * interval '1 hour' from generate_series(22, 25) i`,
  )
  await deleteExpired(db)
  expect(await db.run((sql) => sql`select id from sessions order by id`)).toEqual([
    { id: 1 },
    { id: 2 },
    { id: 3 },
  ])
  expect(await db.run((sql) => sql`select key from idempotency_keys order by key`)).toEqual([
    { key: '22' },
    { key: '23' },
  ])
})

test('a login renews a hash of another cost than is set now, once, however many log in', async () => {
  const dataDirectory = await temporaryDirectory()
  const start = (cost: string) =>
    startApi({ dataDirectory, environment: { BCRYPT_COST: cost, RATE_LIMIT_ANONYMOUS: '1000/60s' } })
  const before = await start('4')
  const user = await createClient({ baseUrl: before.baseUrl, addressHeader: 'X-Test-Address' }).register()
  await before.stop()
  const after = await start('5')
  const client = createClient({ baseUrl: after.baseUrl, addressHeader: 'X-Test-Address' })
  await Promise.all(Array.from({ length: 8 }, () => client.logIn(user.username, user.password)))
  const connection = await findEmbeddedPostgres({ dataDirectory })
  const sql = postgres({ ...connection, max: 1 })
  const [row] = await sql`select left(password_hash, 7) kind from users`
  expect(row).toEqual({ kind: '$2b$05$' })
  await sql.end()
  await after.stop()
  await rm(dataDirectory, { recursive: true, force: true })
})

test('a hash of a password as it was typed still works, and is one of its NFKC after a login', async () => {
  const dataDirectory = await temporaryDirectory()
  const api = await startApi({ dataDirectory, environment: { BCRYPT_COST: '4' } })
  const client = createClient({ baseUrl: api.baseUrl, addressHeader: 'X-Test-Address' })
  const sql = postgres({ ...(await findEmbeddedPostgres({ dataDirectory })), max: 1 })
  const hashOf = async (username: string) =>
    (await sql`select password_hash hash from users where username = ${username}`)[0]?.hash as string
  /** As a program made it that did not normalise. */
  const setHash = async (username: string, typed: string) =>
    sql`update users set password_hash = ${await bcryptjs.hash(typed, 4)} where username = ${username}`
  const logIn = async (username: string, password: string) =>
    (await client.request('POST', '/api/token/', { json: { username, password } })).status
  const typed = 'Zażółć gęślą'.normalize('NFD')

  const { username } = await client.register()
  await setHash(username, typed)
  expect(await logIn(username, `${typed}!`)).toBe(401)
  expect(await logIn(username, typed.normalize('NFKC'))).toBe(401)
  expect(await logIn(username, typed)).toBe(200)
  const renewed = await hashOf(username)
  expect(await bcryptjs.compare(typed.normalize('NFKC'), renewed)).toBe(true)
  for (const form of [typed.normalize('NFKC'), typed]) expect(await logIn(username, form)).toBe(200)
  expect(await hashOf(username)).toBe(renewed)

  // Longer than bcrypt reads once normalised: the hash stays as it is.
  const long = 'ﷺﷺﷺ'
  await setHash(username, long)
  const kept = await hashOf(username)
  expect([await logIn(username, long), await logIn(username, `${long}ﷺ`)]).toEqual([200, 401])
  expect(await hashOf(username)).toBe(kept)

  const { token, ...user } = await client.register()
  await setHash(user.username, typed)
  const json = { password: 'a new password', current_password: typed }
  expect((await client.request('PATCH', '/api/users/me/', { token, json })).status).toBe(200)
  await setHash(user.username, typed)
  const deletion = { token, json: { password: typed } }
  expect((await client.request('DELETE', '/api/users/me/', deletion)).status).toBe(204)

  await sql.end()
  await api.stop()
  await rm(dataDirectory, { recursive: true, force: true })
})
