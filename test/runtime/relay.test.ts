/** One pass of the relay over a real outbox; what it invokes is the test's. */
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import type postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { CompletionEvent } from '../../src/events/completion-event.ts'
import { createLambdaClient, InvocationError } from '../../src/events/lambda-client.ts'
import { createSweep, startRelay } from '../../src/events/relay.ts'
import { createLogger } from '../../src/log.ts'
import { createDatabase, valueOptions } from '../../src/runtime/database/postgres.ts'
import { createTestApi, credentials } from '../support/invoke-api.ts'
import { listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'

let server: TestPostgres
let sql: postgres.Sql
let db: ReturnType<typeof createDatabase>

beforeAll(async () => {
  server = await startTestPostgres()
  await migrateDatabase(server.url())
  sql = server.sql()
  db = createDatabase((own) => server.sql(undefined, { ...valueOptions, ...own } as object) as never, {
    places: 5,
    timeoutMs: 60_000,
  })
  await sql`insert into users (username, password_hash) values ('ann', 'none')`
})
afterAll(async () => {
  await db?.close()
  await server?.stop()
})
beforeEach(async () => {
  await sql`truncate outbox`
})

const complete = (count: number) => sql`
  insert into tasks (title, status, created_by)
  select 'Task ' || n, 'completed', (select min(id) from users) from generate_series(1, ${count}::int) n`

const sweepBy = (invoke: (event: CompletionEvent) => Promise<void>) =>
  createSweep({ db, invoke, log: createLogger('silent') })

test('delivers everything that is due, more than fits at a time, and leaves nothing behind', async () => {
  await complete(35)
  const seen: string[] = []
  expect(await sweepBy(async ({ id }) => void seen.push(id))()).toEqual({ failed: false, pauseMs: 0 })
  expect(new Set(seen).size).toBe(35)
  expect(seen).toHaveLength(35)
  expect(await sql`select id from outbox`).toEqual([])
})

test('a slow delivery holds up no other', async () => {
  await complete(30)
  const seen: string[] = []
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const sweeping = sweepBy(async (event) => {
    if (event.detail.task.title === 'Task 1') await held
    seen.push(event.id)
  })()
  await expect.poll(() => seen.length, { timeout: 30_000 }).toBe(29)
  release()
  await sweeping
  expect(seen).toHaveLength(30)
})

test('an outage costs a few attempts, whatever waits, and asks to be left alone for a while', async () => {
  await complete(40)
  let attempts = 0
  const sweep = sweepBy(async () => {
    attempts++
    throw new InvocationError('no answer: connect ECONNREFUSED', { retryable: true })
  })
  const first = await sweep()
  expect(first).toMatchObject({ failed: true })
  expect(first.pauseMs).toBeGreaterThan(0)
  expect(attempts).toBeLessThanOrEqual(10)
  const [row] =
    await sql`select count(*)::int waiting, max(last_error) last_error from outbox where dead_at is null`
  expect(row).toEqual({ waiting: 40, last_error: 'no answer: connect ECONNREFUSED' })
})

test.each([
  ['a minute', 60_000, 60_000],
  ['a day, which is too much to ask', 86_400_000, 300_000],
])('throttled for %s, everything waits for as long', async (_, retryAfterMs, waitMs) => {
  await complete(40)
  const sweep = sweepBy(async () => {
    throw new InvocationError('Rate Exceeded.', { status: 429, retryable: true, retryAfterMs })
  })
  expect(await sweep()).toEqual({ failed: true, pauseMs: waitMs })
  const [row] = await sql`
    select count(*) filter (where attempts > 0)::int tried, max(next_attempt_at - clock_timestamp()) longest,
      bool_and(next_attempt_at > clock_timestamp() + ${`${waitMs - 30_000} ms`}::interval) filter (where attempts > 0) later
    from outbox`
  expect(row).toMatchObject({ later: true })
  expect(row?.tried).toBeLessThanOrEqual(10)
})

test('a relay that is throttled is silent for as long, whoever wakes it', async () => {
  await complete(1)
  const invokedAt: number[] = []
  const relay = startRelay(
    sweepBy(async () => {
      invokedAt.push(performance.now())
      if (invokedAt.length > 1) return
      throw new InvocationError('Rate Exceeded.', { status: 429, retryable: true, retryAfterMs: 4000 })
    }),
    createLogger('silent'),
  )
  try {
    await expect.poll(() => invokedAt.length, { timeout: 60_000 }).toBe(1)
    await complete(3)
    const delivered = async () => {
      relay.wake()
      return sql`select id from outbox`
    }
    await expect.poll(delivered, { timeout: 60_000, interval: 20 }).toEqual([])
    const [first = 0, second = 0] = invokedAt
    expect(second - first).toBeGreaterThanOrEqual(3900)
    expect(invokedAt).toHaveLength(5)
  } finally {
    await relay.stop()
  }
})

test('a function that fails on one event is asked again about that one, later and later', async () => {
  await complete(3)
  const sweep = sweepBy(async ({ detail }) => {
    if (detail.task.title === 'Task 2')
      throw new InvocationError('TypeError', { status: 200, retryable: true })
  })
  for (const seconds of [1, 2, 4, 8]) {
    const [begun] = await sql`select clock_timestamp()::text as time`
    await sweep()
    // Between half and all of it, from a moment within the sweep on.
    const [row] = await sql`
      select
        next_attempt_at >= ${begun?.time}::timestamptz + ${seconds / 2} * interval '1 s' as enough,
        next_attempt_at <= clock_timestamp() + ${seconds} * interval '1 s' as soon
      from outbox`
    expect({ seconds, ...row }).toEqual({ seconds, enough: true, soon: true })
    await sql`update outbox set next_attempt_at = clock_timestamp()`
  }
})

test('an event that can never be delivered, or is older than six hours, is kept as dead', async () => {
  await complete(2)
  await sql`update outbox set created_at = now() - interval '7 hours' where payload->'detail'->'task'->>'title' = 'Task 1'`
  await sweepBy(async ({ detail }) => {
    throw new InvocationError('refused', { status: 400, retryable: detail.task.title === 'Task 1' })
  })()
  expect(await sql`select dead_at is not null dead, last_error from outbox`).toEqual([
    { dead: true, last_error: 'refused' },
    { dead: true, last_error: 'refused' },
  ])
  expect(await sweepBy(async () => expect.unreachable())()).toEqual({ failed: false, pauseMs: 0 })
})

test('a function may fail in any words: they are kept, and the event waits like any other', async ({
  onTestFinished,
}) => {
  const { app } = createTestApi(async (event) => {
    throw new Error(`${(event as CompletionEvent).detail.task.title} \0 \u0085 \ud800 failed`)
  })
  const invokeApi = createServer(getRequestListener(app.fetch))
  const port = await listenOnLoopback(invokeApi)
  onTestFinished(() => void invokeApi.closeAllConnections())
  onTestFinished(() => void invokeApi.close())
  const { invoke } = createLambdaClient({
    endpoint: `http://127.0.0.1:${port}`,
    functionName: 'task-notifier',
    invocation: 'RequestResponse',
    region: 'us-east-1',
    credentials,
    timeoutMs: 60_000,
  })
  await complete(2)
  await sql`update outbox set created_at = now() - interval '7 hours' where payload->'detail'->'task'->>'title' = 'Task 1'`
  await sweepBy(invoke)()
  expect(await sql`select dead_at is not null dead, last_error from outbox order by last_error`).toEqual([
    { dead: true, last_error: 'function failed: Error: Task 1 failed' },
    { dead: false, last_error: 'function failed: Error: Task 2 failed' },
  ])
})

test('whoever has lost its claim has no say any more', async () => {
  await complete(1)
  await sweepBy(async () => {
    // Another process has claimed it meanwhile, this one having stalled for longer than its lease.
    await sql`update outbox set attempts = attempts + 1, next_attempt_at = '2100-01-01'`
    await sleep(0)
    throw new InvocationError('too late', { status: 200, retryable: true })
  })()
  expect(await sql`select attempts, last_error from outbox`).toEqual([{ attempts: 2, last_error: null }])
})
