/** The database port with a real server, and with a silent one. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Database, DeadlineError } from '../../src/ports/database.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startRelay } from '../support/relay.ts'

let server: TestPostgres
beforeAll(async () => {
  server = await startTestPostgres()
})
afterAll(async () => {
  await server?.stop()
})

function open(url: string, { poolSize = 1, timeoutMs = 60_000 } = {}) {
  const database = createDatabase((own) => postgres(url, { ...valueOptions, ...own }), {
    poolSize,
    timeoutMs,
  })
  const say = async (text: string, options?: { timeoutMs?: number; heavyFor?: number }) => {
    const [row] = await database.run((sql) => sql<[{ said: string }]>`select ${text}::text said`, options)
    return row.said
  }
  const sleep = (seconds: number, timeoutMs?: number) =>
    database.run((sql) => sql`select pg_sleep(${seconds})`, timeoutMs === undefined ? {} : { timeoutMs })
  return { ...database, say, sleep }
}

test('the answer of a statement past its deadline goes to no other statement', async () => {
  const { say, sleep, close } = open(server.url(), { poolSize: 2 })
  const slow = [sleep(3), sleep(3)]
  const late = Array.from({ length: 20 }, (_, i) => say(`late ${i}`, { timeoutMs: 100 }))
  const behind = Array.from({ length: 50 }, (_, i) => say(`behind ${i}`))
  for (const outcome of await Promise.allSettled(late)) {
    expect(outcome).toMatchObject({ status: 'rejected', reason: expect.any(DeadlineError) })
  }
  expect(await Promise.all(behind)).toEqual(behind.map((_, i) => `behind ${i}`))
  await Promise.all(slow)
  await close()
})

describe('a statement that is given as text', () => {
  const preparedTexts = async ({ query }: Pick<Database, 'query'>) => {
    const rows = await query<{ text: string }>(
      "select statement as text from pg_prepared_statements where statement like '%one%' order by 1",
      [],
      { prepare: false },
    )
    return rows.map(({ text }) => text)
  }

  test('takes values and returns rows like a tagged one, also in a transaction', async () => {
    const { query, transaction, close } = open(server.url())
    const text = `select $1::bigint as id, extract(epoch from $2::timestamptz) as time, $3::text as text,
      $4::jsonb -> 'a' as member, $5::boolean as is_true`
    const values = [7, '2026-11-22T08:04:05.12+01:00', null, { a: [1] }, true]
    const row = { id: 7, time: '2026-11-22T07:04:05.120Z', text: null, member: [1], is_true: true }
    expect(await query(text, values)).toEqual([row])
    expect(await transaction((tx) => tx.query(text, values))).toEqual([row])
    expect(await query('select 1 as one')).toEqual([{ one: 1 }])
    await expect(query('select 1; select 2')).rejects.toMatchObject({ code: '42601' })
    await expect(query('select pg_sleep($1)', [30], { timeoutMs: 40 })).rejects.toThrow(DeadlineError)
    await close()
  })

  test('is prepared once a connection, unless the statement or the setting forbids it', async () => {
    const database = open(server.url())
    for (const id of [1, 2]) await database.query('select $1::int as one', [id])
    await database.query('select $1::int as one_unprepared', [1], { prepare: false })
    expect(await preparedTexts(database)).toEqual(['select $1::int as one'])
    await database.close()
    const options = { ...valueOptions, prepare: false }
    const unprepared = createDatabase((own) => postgres(server.url(), { ...options, ...own }), {
      poolSize: 1,
      timeoutMs: 60_000,
    })
    expect(await unprepared.query('select $1::int as one', [1])).toEqual([{ one: 1 }])
    expect(await preparedTexts(unprepared)).toEqual([])
    await unprepared.close()
  })
})

test('cancelled statements disturb no others', async () => {
  const { say, sleep, close } = open(server.url(), { poolSize: 3 })
  const cancelling = async () => {
    for (let round = 0; round < 15; round++) await expect(sleep(30, 40)).rejects.toThrow(DeadlineError)
  }
  const talking = async (name: string) => {
    for (let round = 0; round < 100; round++) expect(await say(`${name} ${round}`)).toBe(`${name} ${round}`)
  }
  await Promise.all([cancelling(), cancelling(), talking('one'), talking('other')])
  await close()
})

test('a connection keeps nothing of an answered statement in memory', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const { run, close } = open(server.url())
  const answers: WeakRef<object>[] = []
  for (let round = 0; round < 20; round++)
    answers.push(new WeakRef(await run((sql) => sql`select ${round}::integer as round`)))
  // postgres.js itself keeps its last one or two.
  await run((sql) => sql`select 'something else'`)
  await run((sql) => sql`select 'something else'`)
  await vi.waitFor(
    () => {
      collect()
      expect(answers.filter((answer) => answer.deref() !== undefined).length).toBeLessThanOrEqual(2)
    },
    { timeout: 30_000, interval: 50 },
  )
  await close()
})

test('heavy statements leave connections to the others', async () => {
  const { run, say, close } = open(server.url(), { poolSize: 3 })
  const held = await server.sql().reserve()
  await held`select pg_advisory_lock(1)`
  const heavy = Array.from({ length: 6 }, (_, user) =>
    run((sql) => sql`select pg_advisory_xact_lock_shared(1)`, { heavyFor: user }),
  )
  // None of them can have ended yet.
  expect(await say('light')).toBe('light')
  await held`select pg_advisory_unlock(1)`
  held.release()
  await Promise.all(heavy)
  await close()
})

test('a deadlock is retried', async () => {
  const { run, close } = open(server.url(), { poolSize: 2 })
  await run((sql) => sql`create table pairs (id integer primary key, n integer not null)`)
  await run((sql) => sql`insert into pairs values (1, 0), (2, 0)`)
  const rise = (order: string) =>
    run(
      (sql) => sql`
        update pairs set n = n + 1 from (
          select id from pairs order by id * ${order === 'up' ? 1 : -1}::integer for update
        ) locked where pairs.id = locked.id`,
    )
  // Two at a time, so that the victim is alone at its retry.
  for (let pair = 0; pair < 5; pair++) await Promise.all([rise('up'), rise('down')])
  expect(await run((sql) => sql`select n from pairs order by id`)).toEqual([{ n: 10 }, { n: 10 }])
  await close()
})

describe('a statement that Postgres undoes after a conflict', () => {
  const conflicts = { serialization_failure: '40001', deadlock_detected: '40P01' }
  /** Fails for `ms`, and counts the attempts in a sequence, which is not rolled back. */
  async function createConflict({ run }: Pick<ReturnType<typeof open>, 'run'>, name: string, ms: number) {
    await run((sql) => sql`create sequence if not exists ${sql(`${name}_tries`)}`)
    const body = `begin
      perform nextval('${name}_tries');
      if clock_timestamp() < '${new Date(Date.now() + ms).toISOString()}' then raise ${name}; end if;
      return 'done';
    end`
    await run((sql) =>
      sql.unsafe(`create or replace function ${name}() returns text language plpgsql as $$${body}$$`),
    )
    return async () => {
      const [row] = await run((sql) => sql<[{ tries: number }]>`select nextval(${`${name}_tries`}) - 1 tries`)
      return row.tries
    }
  }

  test.for(Object.entries(conflicts))('(%s) is retried for 2 s, with pauses', async ([name]) => {
    const database = open(server.url(), { timeoutMs: 30_000 })
    const triesOf = await createConflict(database, name, 1000)
    expect(await database.run((sql) => sql`select ${sql.unsafe(`${name}()`)} said`)).toEqual([
      { said: 'done' },
    ])
    const tries = await triesOf()
    expect(tries).toBeGreaterThan(3)
    expect(tries).toBeLessThan(20)
    await database.close()
  })

  test.for(Object.entries(conflicts))('(%s) is "contended" if no retry succeeds', async ([name, code]) => {
    const database = open(server.url(), { timeoutMs: 30_000 })
    const triesOf = await createConflict(database, name, 3_600_000)
    const begun = performance.now()
    const failure = await database.run((sql) => sql`select ${sql.unsafe(`${name}()`)}`).catch((e) => e)
    expect(performance.now() - begun).toBeGreaterThan(1000)
    expect(failure).toMatchObject({
      name: 'DatabaseUnavailableError',
      reason: 'contended',
      cause: { code },
    })
    expect(await triesOf()).toBeLessThan(30)
    await database.close()
  })
})

test('a time is never read as text of the server', async () => {
  const { run, say, close } = open(server.url())
  await expect(run((sql) => sql`select now()`)).rejects.toThrow('extract(epoch from …)')
  const [row] = await run(
    (sql) => sql`select extract(epoch from '2026-11-22 07:04:05.12 UTC'::timestamptz) at`,
  )
  expect(row).toEqual({ at: '2026-11-22T07:04:05.120Z' })
  const [old] = await run(
    (sql) => sql`select extract(epoch from '0001-01-01 00:00:00.000999 UTC'::timestamptz) at`,
  )
  expect(old).toEqual({ at: '0001-01-01T00:00:00.000Z' })
  expect(await say('still there')).toBe('still there')
  await close()
})

test('a transaction is all or nothing, and leaves its connection free', async () => {
  const { transaction, run, say, close } = open(server.url())
  await run((sql) => sql`create table entries (n integer)`)
  const failing = transaction(async (tx) => {
    await tx.run((sql) => sql`insert into entries values (1)`)
    throw new Error('changed my mind')
  })
  await expect(failing).rejects.toThrow('changed my mind')
  expect(await run((sql) => sql`select n from entries`)).toEqual([])
  expect(await say('free')).toBe('free')
  await close()
})

/**
 * A proxy whose connections can fall silent: they stay open, and nothing passes. New ones may be refused
 * then.
 */
async function startSilenceableProxy(serverUrl: string) {
  const url = new URL(serverUrl)
  const connections: { isSilent: boolean }[] = []
  let isRefusing = false
  const { port, close } = await startRelay({ host: url.hostname, port: Number(url.port) }, () => {
    if (isRefusing) return undefined
    const connection = { isSilent: false }
    connections.push(connection)
    const pass = () => !connection.isSilent
    return { fromClient: pass, fromServer: pass }
  })
  url.port = String(port)
  return {
    url: url.href,
    silence(next: 'open' | 'refusing') {
      for (const connection of connections) connection.isSilent = true
      isRefusing = next === 'refusing'
    },
    restore() {
      isRefusing = false
    },
    close,
  }
}

test.each(['open', 'refusing'] as const)(
  'silent connections are replaced (new ones meanwhile: %s)',
  async (next) => {
    const proxy = await startSilenceableProxy(server.url())
    const { say, close } = open(proxy.url, { poolSize: 2, timeoutMs: 300 })
    // Connecting may take longer on a busy machine.
    const patient = { timeoutMs: 10_000 }
    expect(await say('before', patient)).toBe('before')
    expect(await say('before', patient)).toBe('before')
    proxy.silence(next)
    const outcomes = await Promise.allSettled([say('lost'), say('lost'), say('lost')])
    expect(outcomes.filter(({ status }) => status === 'rejected')).not.toEqual([])
    for (const outcome of outcomes) {
      // One may have got a new connection.
      if (outcome.status === 'fulfilled') expect(outcome.value).toBe('lost')
      else expect(['DeadlineError', 'DatabaseUnavailableError']).toContain(outcome.reason.name)
    }
    proxy.restore()
    const after = () => say('after', patient).catch(() => 'not yet')
    await expect.poll(after, { timeout: 60_000 }).toBe('after')
    await close()
    proxy.close()
  },
)

test('a silent server costs one wait, not one for each connection', async () => {
  const proxy = await startSilenceableProxy(server.url())
  const { say, sleep, close } = open(proxy.url, { poolSize: 4 })
  await Promise.all([sleep(0.5), sleep(0.5), sleep(0.5), sleep(0.5)])
  proxy.silence('open')
  await expect(say('lost', { timeoutMs: 300 })).rejects.toThrow(DeadlineError)
  expect(await say('after', { timeoutMs: 20_000 })).toBe('after')
  await close()
  proxy.close()
})
