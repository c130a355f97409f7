/** A statement past its deadline disturbs no other statement, and leaves no connection behind. */
import { chmod, chown, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { DeadlineError } from '../../src/ports/database.ts'
import { findServerUser } from '../../src/runtime/embedded-postgres/user.ts'
import { connectTo } from '../../src/runtime/postgres/connect.ts'
import { createDatabase } from '../../src/runtime/postgres/postgres.ts'
import { cert, key } from '../support/certificate.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { type PostgresCluster, startPostgresCluster } from '../support/postgres-cluster.ts'
import { startRelay } from '../support/relay.ts'

const patience = { timeout: 60_000, interval: 20 }
const poolSize = 2

let directory: string
let server: PostgresCluster
beforeAll(async () => {
  directory = await temporaryDirectory()
  const user = await findServerUser(undefined)
  const files = { ssl_cert_file: join(directory, 'cert.pem'), ssl_key_file: join(directory, 'key.pem') }
  await writeFile(files.ssl_cert_file, cert)
  await writeFile(files.ssl_key_file, key)
  for (const file of Object.values(files)) {
    await chmod(file, 0o600)
    if (user) await chown(file, user.uid, user.gid)
  }
  server = await startPostgresCluster({ parameters: { ssl: 'on', ...files } })
})
afterAll(async () => {
  await server?.remove()
  await rm(directory, { recursive: true, force: true })
})

/** A database with two connections at most, and another client that holds the advisory locks 1 and 2. */
async function open({ onTestFinished }: Pick<TestContext, 'onTestFinished'>, url: string) {
  const holder = postgres(server.url('sslmode=disable'), { max: 1, fetch_types: false, onnotice: () => {} })
  onTestFinished(() => holder.end({ timeout: 1 }))
  await holder`create table if not exists entries (n integer)`
  await holder`truncate entries`
  await holder`select pg_advisory_lock(1), pg_advisory_lock(2)`
  const database = createDatabase(connectTo(url, { databaseCa: undefined, databasePrepare: true }), {
    poolSize,
    timeoutMs: 60_000,
  })
  onTestFinished(() => database.close())
  const sessions = (condition = 'true') =>
    server.query<{ pid: number }>(
      `select pid from pg_stat_activity where application_name = 'task-api' and ${condition}`,
    )
  return {
    ...database,
    sessions,
    release: (lock: number) => holder`select pg_advisory_unlock(${lock}::integer)`,
    /** Under way on the server until lock 1 is released. */
    async startWrite() {
      const write = database.run(
        (sql) => sql`insert into entries select 1 from pg_advisory_xact_lock_shared(1)`,
      )
      write.catch(() => {})
      await vi.waitFor(
        async () => expect(await sessions(`wait_event = 'advisory'`)).toHaveLength(1),
        patience,
      )
      return { write }
    },
    /** Waits for lock 2. */
    slow: () => database.run((sql) => sql`select pg_advisory_xact_lock_shared(2)`, { timeoutMs: 300 }),
    entries: () => holder`select n from entries`,
  }
}

test.for(['require', 'disable'])('a slow statement is cancelled (sslmode=%s)', async (mode, context) => {
  const database = await open(context, server.url(`sslmode=${mode}`))
  const { write } = await database.startWrite()
  for (let round = 0; round < 3; round++) await expect(database.slow()).rejects.toThrow(DeadlineError)
  await expect.poll(async () => (await database.sessions()).length, patience).toBeLessThanOrEqual(poolSize)
  await database.release(1)
  await write
  expect(await database.entries()).toEqual([{ n: 1 }])
})

/** A pooler before the server that accepts cancellations and ignores them. */
async function startDeafPooler({ onTestFinished }: Pick<TestContext, 'onTestFinished'>, manner: string) {
  const pooler = await startRelay({ port: server.port }, (client) => ({
    fromClient(chunk) {
      // CancelRequest (PostgreSQL documentation, 53.7 Message Formats)
      if (chunk.length !== 16 || chunk.readInt32BE(4) !== 80877102) return true
      if (manner === 'hangs up') client.destroy()
      return false
    },
  }))
  onTestFinished(pooler.close)
  return { host: '127.0.0.1', port: pooler.port }
}

test.for(['hangs up', 'says nothing'])(
  'a slow statement behind a pooler that forwards no cancellation, but %s',
  async (manner, context) => {
    const address = await startDeafPooler(context, manner)
    const database = await open(context, server.url('sslmode=disable', address))
    const { write } = await database.startWrite()
    for (let round = 0; round < 3; round++) await expect(database.slow()).rejects.toThrow(DeadlineError)
    await database.release(1)
    await write
    expect(await database.entries()).toEqual([{ n: 1 }])
    // The statement ends by itself, and its session with it.
    await database.release(2)
    await expect.poll(async () => (await database.sessions()).length, patience).toBeLessThanOrEqual(poolSize)
  },
)

test.for(['require', 'disable'])(
  'a statement whose session cannot be interrupted (sslmode=%s)',
  async (mode, context) => {
    const database = await open(context, server.url(`sslmode=${mode}`))
    const { write } = await database.startWrite()
    const [session] = await database.run((sql) => sql<[{ pid: number }]>`select pg_backend_pid() pid`)
    process.kill(session.pid, 'SIGSTOP')
    try {
      await expect(database.slow()).rejects.toThrow(DeadlineError)
      await database.release(1)
      await write
      expect(await database.entries()).toEqual([{ n: 1 }])
    } finally {
      process.kill(session.pid, 'SIGCONT')
    }
    await database.release(2)
    await expect.poll(() => database.sessions(`pid = ${session.pid}`), patience).toEqual([])
  },
)

test('a commit that no standby has confirmed is not reported as done', async (context) => {
  const { run, transaction, entries } = await open(context, server.url('sslmode=disable'))
  const waitFor = async (standby: string) => {
    await server.query(`alter system set synchronous_standby_names to '${standby}'`)
    await server.query('select pg_reload_conf()')
  }
  const write = (timeoutMs: number) => run((sql) => sql`insert into entries values (1)`, { timeoutMs })
  await write(60_000)
  await waitFor('of_nobody')
  context.onTestFinished(() => waitFor(''))
  // The server reloads its settings some time later.
  await vi.waitFor(async () => await expect(write(300)).rejects.toThrow(DeadlineError), patience)
  const both = transaction((tx) => tx.run((sql) => sql`insert into entries values (2)`), { timeoutMs: 300 })
  await expect(both).rejects.toThrow(DeadlineError)
  expect((await entries()).length).toBeGreaterThan(2)
  await waitFor('')
  await vi.waitFor(async () => await write(60_000), patience)
})
