/** Brief statements on one connection: late, slow, failed and lost ones beside others. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { build } from 'esbuild'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { DeadlineError, type TextOptions } from '../../src/ports/database.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

const patience = { timeout: 60_000, interval: 20 }

let server: TestPostgres
beforeAll(async () => {
  server = await startTestPostgres()
  await server.sql()`create table entries (name text primary key)`
})
afterAll(async () => {
  await server?.stop()
})

/** A database, and another session that holds the advisory locks 1 and 2. */
async function open(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  { poolSize = 1, prepare = true },
) {
  const name = `lanes-${Math.random()}`
  const options = { ...valueOptions, prepare, connection: { application_name: name } }
  const { query, transaction, run, close } = createDatabase(
    (own) => postgres(server.url(), { ...options, ...own }),
    { poolSize, timeoutMs: 60_000 },
  )
  const holder = await server.sql().reserve()
  await holder`select pg_advisory_lock(1), pg_advisory_lock(2)`
  onTestFinished(async () => {
    await holder`select pg_advisory_unlock_all()`
    holder.release()
    await close()
  })
  const sessions = () =>
    server.sql()<{ pid: number; wait: string | null }[]>`
      select pid, wait_event wait from pg_stat_activity where application_name = ${name}`
  const read = (text: string, values: (string | number)[], own: TextOptions = {}) =>
    query<{ said: string; pid: number }>(text, values, { read: true, brief: true, ...own })
  return {
    query,
    transaction,
    run,
    sessions,
    release: (lock: number) => holder`select pg_advisory_unlock(${lock}::integer)`,
    say: async (said: string, own?: TextOptions) =>
      (await read('select $1::text said, pg_backend_pid() pid', [said], own))[0],
    /** Waits for the lock. */
    wait: (lock: number, own?: TextOptions) =>
      read('select pg_backend_pid() pid from pg_advisory_xact_lock_shared($1::integer)', [lock], own),
    write: (name: string, own?: TextOptions) =>
      query('insert into entries values ($1)', [name], { brief: true, ...own }),
    writeAfter: (lock: number, name: string, own?: TextOptions) =>
      query('insert into entries select $2 from pg_advisory_xact_lock_shared($1::integer)', [lock, name], {
        brief: true,
        ...own,
      }),
    /** Until so many sessions wait for a lock. */
    async untilWaiting(count = 1) {
      await vi.waitFor(
        async () => expect((await sessions()).filter(({ wait }) => wait === 'advisory')).toHaveLength(count),
        patience,
      )
    },
  }
}

const entries = async (prefix: string) => {
  const rows = await server.sql()<{ name: string }[]>`
    select name from entries where starts_with(name, ${prefix}) order by name`
  return rows.map(({ name }) => name)
}
const outcomes = async (all: Promise<unknown>[]) =>
  (await Promise.allSettled(all)).map((one) => (one.status === 'rejected' ? one.reason.name : 'done'))

test('many brief statements use a few connections, and each gets its own answer', async (context) => {
  const { say, sessions } = await open(context, { poolSize: 2 })
  for (let round = 0; round < 20; round++) {
    const said = await Promise.all(Array.from({ length: 40 }, (_, i) => say(`${round} ${i}`)))
    expect(said.map((row) => row?.said)).toEqual(said.map((_, i) => `${round} ${i}`))
  }
  expect((await sessions()).length).toBe(2)
})

test('failures among brief statements are those of their own statements', async (context) => {
  const { query, say } = await open(context, {})
  const ask = (n: number) =>
    query<{ n: number }>('select 1 / $1::integer as n', [n], { read: true, brief: true })
  await ask(1)
  for (let round = 0; round < 20; round++) {
    const all = [say('a'), ask(0), ask(1), ask(0), say('b'), ask(1)] as const
    expect(await outcomes([...all])).toEqual([
      'done',
      'PostgresError',
      'done',
      'PostgresError',
      'done',
      'done',
    ])
    expect([(await all[0])?.said, (await all[2])[0]?.n, (await all[4])?.said]).toEqual(['a', 1, 'b'])
  }
})

test('a value that cannot be written leaves the answers of others alone', async (context) => {
  const { query, say } = await open(context, {})
  const unwritable = {
    toJSON: () => {
      throw new TypeError('not written')
    },
  }
  await query('select $1::jsonb as json', [{}], { read: true, brief: true })
  for (let round = 0; round < 20; round++) {
    const all = [
      say('a'),
      query('select $1::jsonb as json', [unwritable], { read: true, brief: true }),
      query('select $1::text as text', [undefined as unknown as null], { read: true, brief: true }),
      say('b'),
    ] as const
    expect(await outcomes([...all])).toEqual(['done', 'TypeError', 'Error', 'done'])
    expect([(await all[0])?.said, (await all[3])?.said]).toEqual(['a', 'b'])
  }
})

test('the first of several reads is cancelled at its deadline, and those behind it are answered', async (context) => {
  const { say, wait, untilWaiting } = await open(context, {})
  await say('prepared')
  const late = wait(1, { timeoutMs: 80 })
  late.catch(() => {})
  await untilWaiting()
  const behind = Promise.all(Array.from({ length: 5 }, (_, i) => say(`behind ${i}`)))
  await expect(late).rejects.toThrow(DeadlineError)
  expect((await behind).map((row) => row?.said)).toEqual([0, 1, 2, 3, 4].map((i) => `behind ${i}`))
})

test('a slow read gives way to those behind it and is run again on its own', async (context) => {
  const { say, wait, release, sessions, untilWaiting } = await open(context, { poolSize: 2 })
  await Promise.all([say('prepared'), say('prepared')])
  await release(2)
  await Promise.all([wait(2), wait(2)])
  const slow = wait(1)
  const others = Promise.all(Array.from({ length: 12 }, (_, i) => say(`other ${i}`)))
  // Lock 1 is still held.
  expect((await others).map((row) => row?.said)).toEqual(Array.from({ length: 12 }, (_, i) => `other ${i}`))
  await untilWaiting()
  expect((await sessions()).length).toBeLessThanOrEqual(3)
  await release(1)
  expect(await slow).toHaveLength(1)
})

test('a queued read that runs out of time disturbs no other', async (context) => {
  const { say, write, writeAfter, wait, untilWaiting, release } = await open(context, {})
  const prefix = 'queued read'
  await release(2)
  await writeAfter(2, `${prefix} 0`)
  await say('prepared')
  const first = wait(1)
  await untilWaiting()
  const [late, patient] = [say('late', { timeoutMs: 60 }), say('patient')]
  await expect(late).rejects.toThrow('no answer within 60 ms')
  await release(1)
  await first
  expect((await patient)?.said).toBe('patient')
  await write(`${prefix} 1`)
  expect(await entries(prefix)).toEqual([`${prefix} 0`, `${prefix} 1`])
})

test('writes never wait behind a write that waits for a lock', async (context) => {
  const { write, writeAfter, untilWaiting, release } = await open(context, { poolSize: 2 })
  const prefix = 'beside a lock'
  const slow = writeAfter(1, `${prefix} 0`)
  await untilWaiting()
  await Promise.all(Array.from({ length: 20 }, (_, i) => write(`${prefix} ${i + 1}`)))
  expect(await entries(prefix)).toHaveLength(20)
  await release(1)
  await slow
})

test('reads never wait behind a write', async (context) => {
  const { say, writeAfter, untilWaiting, release } = await open(context, { poolSize: 2 })
  const slow = writeAfter(1, 'before reads')
  await untilWaiting()
  expect(await Promise.all(Array.from({ length: 20 }, (_, i) => say(String(i))))).toHaveLength(20)
  await release(1)
  await slow
})

test('of several on a killed connection the reads are retried, and a write is not if it was sent', async (context) => {
  const { say, wait, write, writeAfter, untilWaiting, release, sessions } = await open(context, {})
  const prefix = 'killed'
  await release(2)
  await writeAfter(2, `${prefix} 0`)
  await wait(2)
  await Promise.all([write(`${prefix} 1`), say('prepared')])
  const kill = async () => {
    await untilWaiting()
    const [{ pid = 0 } = {}] = await sessions()
    await server.sql()`select pg_terminate_backend(${pid}::integer, 10000)`
  }
  const written = outcomes([writeAfter(1, `${prefix} 2`), write(`${prefix} 3`), write(`${prefix} 4`)])
  await kill()
  expect(await written).toEqual(['DatabaseUnavailableError', 'done', 'done'])
  const read = outcomes([wait(1), say('a'), say('b')])
  await kill()
  await untilWaiting()
  await release(1)
  expect(await read).toEqual(['done', 'done', 'done'])
  expect(await entries(prefix)).toEqual([0, 1, 3, 4].map((n) => `${prefix} ${n}`))
})

test('a transaction gets a connection while brief statements never pause', async (context) => {
  const { say, transaction, run } = await open(context, {})
  let isOver = false
  const talking = Array.from({ length: 20 }, async (_, i) => {
    while (!isOver) expect((await say(`talk ${i}`))?.said).toBe(`talk ${i}`)
  })
  for (let round = 0; round < 20; round++) {
    const said = await transaction(async (tx) => {
      const [row] = await tx.run((sql) => sql<[{ said: number }]>`select ${round}::integer said`)
      return row.said
    })
    expect(said).toBe(round)
    expect(await run((sql) => sql`select 1 as one`)).toEqual([{ one: 1 }])
  }
  isOver = true
  await Promise.all(talking)
})

test('without prepared statements each has a connection to itself', async (context) => {
  const { say, wait, untilWaiting, release } = await open(context, { poolSize: 2, prepare: false })
  const slow = wait(1)
  await untilWaiting()
  expect(await Promise.all(Array.from({ length: 20 }, (_, i) => say(String(i))))).toHaveLength(20)
  await release(1)
  await slow
})

test('unreachable: a brief write that was never sent is refused, and takes effect at most once', async () => {
  const database = createDatabase(
    (own) => postgres('postgres://nobody@127.0.0.1:1/none', { ...valueOptions, ...own }),
    { poolSize: 1, timeoutMs: 300 },
  )
  const write = () => database.query('select 1', [], { brief: true })
  expect(await outcomes(Array.from({ length: 20 }, write))).toEqual(
    Array(20).fill('DatabaseUnavailableError'),
  )
  await database.close()
})

/** The module as a build bundles it, with the mended postgres.js. */
async function bundled({ onTestFinished }: Pick<TestContext, 'onTestFinished'>) {
  const directory = await temporaryDirectory()
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const { options } = await import(join(root, 'scripts/build.mjs'))
  const { entryPoints, outdir, ...common } = options
  const outfile = join(directory, 'database.js')
  const contents = `export { createDatabase, valueOptions } from './src/runtime/postgres/postgres.ts'
    export { default as postgres } from 'postgres'`
  await build({ ...common, stdin: { contents, resolveDir: root, loader: 'ts' }, outfile })
  return (await import(outfile)) as {
    createDatabase: typeof createDatabase
    valueOptions: typeof valueOptions
    postgres: typeof postgres
  }
}

test('prepared statements that the server no longer takes are repeated, and get no rows of others', async (context) => {
  const { createDatabase, valueOptions, postgres } = await bundled(context)
  const owner = server.sql()
  await owner`create table typed (id integer primary key, value integer)`
  await owner`insert into typed select n, n from generate_series(1, 100) n`
  const connect = (own: object) => postgres(server.url(), { ...valueOptions, ...own })
  const { query, close } = createDatabase(connect, { poolSize: 2, timeoutMs: 60_000 })
  context.onTestFinished(() => close())
  const texts = [
    'select id, value from typed where id = $1',
    'select value, id, 1 one from typed where id = $1',
  ]
  const read = async (n: number) => {
    const id = 1 + (n % 100)
    const [row] = await query(texts[n % 2] ?? '', [id], { read: true, brief: true })
    expect({ ...row, value: Number(row?.value) }).toEqual({ id, value: id, ...(n % 2 ? { one: 1 } : {}) })
  }
  for (const change of [
    'alter table typed alter value type bigint',
    'deallocate all',
    'alter table typed alter value type integer',
  ]) {
    await Promise.all(Array.from({ length: 40 }, (_, n) => read(n)))
    if (change.startsWith('alter')) await owner.unsafe(change)
    else await query(change, [], { prepare: false })
    await Promise.all(Array.from({ length: 200 }, (_, n) => setTimeout(n / 4).then(() => read(n))))
  }
})
