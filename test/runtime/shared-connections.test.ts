/** Brief statements on one connection: late, slow, failed and lost ones beside others. */
import postgres from 'postgres'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { DeadlineError, type TextOptions } from '../../src/ports/database.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
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

test('a queued write that runs out of time is never cancelled and says that it may take effect', async (context) => {
  const { write, writeAfter, untilWaiting, release, say } = await open(context, {})
  const prefix = 'queued write'
  await release(2)
  await writeAfter(2, `${prefix} 0`)
  await write(`${prefix} 1`)
  const first = writeAfter(1, `${prefix} 2`)
  await untilWaiting()
  const [late, patient] = [write(`${prefix} 3`, { timeoutMs: 60 }), write(`${prefix} 4`)]
  const failure = await late.catch((error) => error)
  expect(failure).toBeInstanceOf(DeadlineError)
  expect(failure.message).toContain('may still take effect')
  await release(1)
  await Promise.all([first, patient])
  // It did take effect, once, and the connection is replaced.
  expect(await entries(prefix)).toEqual([0, 1, 2, 3, 4].map((n) => `${prefix} ${n}`))
  expect((await say('after'))?.said).toBe('after')
})

test('reads never wait behind a write', async (context) => {
  const { say, writeAfter, untilWaiting, release } = await open(context, { poolSize: 2 })
  const slow = writeAfter(1, 'before reads')
  await untilWaiting()
  expect(await Promise.all(Array.from({ length: 20 }, (_, i) => say(String(i))))).toHaveLength(20)
  await release(1)
  await slow
})

test('of several under way on a killed connection the reads are retried and the writes are not', async (context) => {
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
  expect(await written).toEqual(Array(3).fill('DatabaseUnavailableError'))
  const read = outcomes([wait(1), say('a'), say('b')])
  await kill()
  await untilWaiting()
  await release(1)
  expect(await read).toEqual(['done', 'done', 'done'])
  expect(await entries(prefix)).toEqual([`${prefix} 0`, `${prefix} 1`])
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
