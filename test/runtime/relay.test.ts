/** Passes of the relay over a real outbox, with functions of the test. */
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { getRequestListener } from '@hono/node-server'
import type postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, expect, type TestContext, test } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import type { OutboxEvent } from '../../src/outbox/event.ts'
import { createLambdaClient, InvocationError } from '../../src/outbox/lambda-client.ts'
import * as outbox from '../../src/outbox/outbox.ts'
import { createDelivery, startRelay } from '../../src/outbox/relay.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import type { CompletionEvent } from '../../src/tasks/completion-event.ts'
import type { LambdaFunction } from '../../workers/lambda/lambda-function.ts'
import { createHandler } from '../../workers/notifier/handler.ts'
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
    poolSize: 5,
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

const deliveryBy = (invoke: (event: CompletionEvent) => Promise<void>) =>
  createDelivery({ db, invoke: (event) => invoke(event as CompletionEvent), log: createLogger('silent') })

test('delivers all due events, with more events than slots, and leaves nothing', async () => {
  await complete(35)
  const seen: string[] = []
  expect(await deliveryBy(async ({ id }) => void seen.push(id))()).toEqual({ failed: false, pauseMs: 0 })
  expect(new Set(seen).size).toBe(35)
  expect(seen).toHaveLength(35)
  expect(await sql`select id from outbox`).toEqual([])
})

test('a slow delivery delays no other', async () => {
  await complete(30)
  const seen: string[] = []
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const delivering = deliveryBy(async (event) => {
    if (event.detail.task.title === 'Task 1') await held
    seen.push(event.id)
  })()
  await expect.poll(() => seen.length, { timeout: 30_000 }).toBe(29)
  release()
  await delivering
  expect(seen).toHaveLength(30)
})

test('an outage costs few attempts, and asks for a pause', async () => {
  await complete(40)
  let attempts = 0
  const deliverDue = deliveryBy(async () => {
    attempts++
    throw new InvocationError('no answer: connect ECONNREFUSED', { retryable: true })
  })
  const first = await deliverDue()
  expect(first).toMatchObject({ failed: true })
  expect(first.pauseMs).toBeGreaterThan(0)
  expect(attempts).toBeLessThanOrEqual(10)
  const [row] =
    await sql`select count(*)::int waiting, max(last_error) last_error from outbox where dead_at is null`
  expect(row).toEqual({ waiting: 40, last_error: 'no answer: connect ECONNREFUSED' })
})

test.each([
  ['a minute', 60_000, 60_000],
  ['a day, which is above the limit', 86_400_000, 300_000],
])('throttled for %s, all events wait that long', async (_, retryAfterMs, waitMs) => {
  await complete(40)
  const deliverDue = deliveryBy(async () => {
    throw new InvocationError('Rate Exceeded.', { status: 429, retryable: true, retryAfterMs })
  })
  expect(await deliverDue()).toEqual({ failed: true, pauseMs: waitMs })
  const [row] = await sql`
    select count(*) filter (where attempts > 0)::int tried, max(next_attempt_at - clock_timestamp()) longest,
      bool_and(next_attempt_at > clock_timestamp() + ${`${waitMs - 30_000} ms`}::interval) filter (where attempts > 0) later
    from outbox`
  expect(row).toMatchObject({ later: true })
  expect(row?.tried).toBeLessThanOrEqual(10)
})

test('a throttled relay makes no pass during the pause, even if it is woken', async () => {
  await complete(1)
  const invokedAt: number[] = []
  const relay = startRelay(
    deliveryBy(async () => {
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

test('retries only the failing event, later each time', async () => {
  await complete(3)
  const deliverDue = deliveryBy(async ({ detail }) => {
    if (detail.task.title === 'Task 2')
      throw new InvocationError('TypeError', { status: 200, retryable: true })
  })
  for (const seconds of [1, 2, 4, 8]) {
    const [begun] = await sql`select clock_timestamp()::text as time`
    await deliverDue()
    // Jitter leaves between half and all of the wait, from a moment in the pass on.
    const [row] = await sql`
      select
        next_attempt_at >= ${begun?.time}::timestamptz + ${seconds / 2} * interval '1 s' as enough,
        next_attempt_at <= clock_timestamp() + ${seconds} * interval '1 s' as soon
      from outbox`
    expect({ seconds, ...row }).toEqual({ seconds, enough: true, soon: true })
    await sql`update outbox set next_attempt_at = clock_timestamp()`
  }
})

test('an event that cannot be delivered, or is older than six hours, becomes a dead letter', async () => {
  await complete(2)
  await sql`update outbox set created_at = now() - interval '7 hours' where payload->'detail'->'task'->>'title' = 'Task 1'`
  await deliveryBy(async ({ detail }) => {
    throw new InvocationError('refused', { status: 400, retryable: detail.task.title === 'Task 1' })
  })()
  expect(await sql`select dead_at is not null dead, last_error from outbox`).toEqual([
    { dead: true, last_error: 'refused' },
    { dead: true, last_error: 'refused' },
  ])
  expect(await deliveryBy(async () => expect.unreachable())()).toEqual({ failed: false, pauseMs: 0 })
})

/** Serves the function by the Invoke API and returns the client's `invoke`. */
async function serve(onTestFinished: TestContext['onTestFinished'], handler: LambdaFunction) {
  const { app } = createTestApi(handler)
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
  return invoke
}

test('the notifier acknowledges an event of unknown type and logs it, and handles the others', async ({
  onTestFinished,
}) => {
  const lines: string[] = []
  const invoke = await serve(onTestFinished, createHandler({ log: (line) => lines.push(line) }))
  await complete(1)
  await sql`
    insert into outbox (id, payload)
    select id, payload || jsonb_build_object('id', id, 'detail-type', 'Task Shared', 'resources', jsonb_build_array('/x/'),
      'detail', jsonb_build_object('version', 3))
    from (select gen_random_uuid() id, payload from outbox) copy`
  expect(await createDelivery({ db, invoke, log: createLogger('silent') })()).toEqual({
    failed: false,
    pauseMs: 0,
  })
  expect(await sql`select id from outbox`).toEqual([])
  expect(lines.map((line) => JSON.parse(line)).sort((a, b) => a.level.localeCompare(b.level))).toMatchObject([
    { level: 'info', message: 'task completed' },
    { level: 'warn', message: 'event of unknown type', type: 'Task Shared', version: 3, subject: '/x/' },
  ])
})

test('stores any error message of the function, and the event is retried', async ({ onTestFinished }) => {
  const invoke = await serve(onTestFinished, async (event) => {
    throw new Error(`${(event as CompletionEvent).detail.task.title} \0 \u0085 \ud800 failed`)
  })
  await complete(2)
  await sql`update outbox set created_at = now() - interval '7 hours' where payload->'detail'->'task'->>'title' = 'Task 1'`
  await deliveryBy(invoke)()
  expect(await sql`select dead_at is not null dead, last_error from outbox order by last_error`).toEqual([
    { dead: true, last_error: 'function failed: Error: Task 1 failed' },
    { dead: false, last_error: 'function failed: Error: Task 2 failed' },
  ])
})

test('an outcome after the end of the claim is ignored', async () => {
  await complete(1)
  await deliveryBy(async () => {
    // This process stalled for longer than its lease, and another one has claimed the event.
    await sql`update outbox set attempts = attempts + 1, next_attempt_at = '2100-01-01'`
    await sleep(0)
    throw new InvocationError('too late', { status: 200, retryable: true })
  })()
  expect(await sql`select attempts, last_error from outbox`).toEqual([{ attempts: 2, last_error: null }])
})

/** Inserts waiting events of a creator directly, many at once. */
const wait = (creator: number, count: number, { held = false, dueInMs = 0 } = {}) => sql`
  insert into outbox (id, payload, held, next_attempt_at)
  select id, jsonb_build_object('id', id, 'detail', jsonb_build_object('task', jsonb_build_object('created_by', ${creator}::int))),
    ${held}, clock_timestamp() + ${`${dueInMs} ms`}::interval
  from (select gen_random_uuid() id from generate_series(1, ${count}::int)) ids`

const creatorOf = ({ detail }: OutboxEvent) => (detail as CompletionEvent['detail']).task.created_by

test('takes the events of all creators in turn, the oldest of each first', async () => {
  for (const [creator, count] of [
    [1, 40],
    [2, 3],
    [3, 1],
  ] as const)
    await wait(creator, count)
  const creators: number[] = []
  const ids: string[] = []
  await deliveryBy(async (event) => {
    creators.push(creatorOf(event))
    if (creatorOf(event) === 2) ids.push(event.id)
  })()
  expect(creators).toHaveLength(44)
  // A claim takes ten: one of each creator, then more of each.
  expect(creators.slice(0, 10)).toEqual(expect.arrayContaining([1, 2, 3]))
  expect(creators.slice(0, 25).filter((creator) => creator === 2)).toHaveLength(3)
  expect(new Set(ids).size).toBe(3)
})

test('a slot that becomes free goes to the creator whose turn is next', async () => {
  await wait(1, 60)
  const order: number[] = []
  let stuck = true
  await deliveryBy(async (event) => {
    order.push(creatorOf(event))
    // Nine deliveries of the burst hang until the others have ended.
    if (order.length < 10) await expect.poll(() => stuck, { timeout: 60_000 }).toBe(false)
    if (order.length === 10) await wait(2, 5)
    if (order.length >= 30) stuck = false
  })()
  expect(order).toHaveLength(65)
  expect(order.slice(10, 30).filter((creator) => creator === 2)).toHaveLength(5)
})

const throttled = (throttledMs: number) =>
  new InvocationError('again in 1 ms: Webhook is throttled', { status: 200, retryable: true, throttledMs })

test('while a channel is throttled, held events are not claimed, and new ones are tried once', async () => {
  await wait(1, 200)
  const invoked = new Map<string, number>()
  let open = false
  const deliverDue = deliveryBy(async ({ id }) => {
    invoked.set(id, (invoked.get(id) ?? 0) + 1)
    if (!open) throw throttled(3_600_000)
  })
  await deliverDue()
  expect(invoked.size).toBe(200)
  await wait(2, 1)
  // Even due ones: other processes may have learned of the throttling at other times.
  await sql`update outbox set next_attempt_at = clock_timestamp() where held`
  await deliverDue()
  expect([invoked.size, Math.max(...invoked.values())]).toEqual([201, 1])
  // Another process finds out by its own events in flight.
  let others = 0
  await deliveryBy(async () => {
    others++
    throw throttled(3_600_000)
  })()
  expect(others).toBeLessThanOrEqual(10)
  await sql`update outbox set next_attempt_at = clock_timestamp() where held`
  open = true
  const creators: number[] = []
  await deliveryBy(async (event) => void creators.push(creatorOf(event)))()
  expect(creators).toHaveLength(201)
  expect(creators.slice(0, 10)).toContain(2)
})

test('throttling uses up neither attempts nor age', async () => {
  await wait(1, 1)
  await sql`update outbox set created_at = now() - interval '20 hours'`
  let failure: Error = throttled(1000)
  const run = async () => {
    await sql`update outbox set next_attempt_at = clock_timestamp(), created_at = now() - interval '1 hour'`
    await deliveryBy(async () => {
      throw failure
    })()
  }
  await deliveryBy(async () => {
    throw failure
  })()
  for (let i = 0; i < 8; i++) await run()
  expect(await sql`select held, dead_at, attempts - deferrals own from outbox`).toEqual([
    { held: true, dead_at: null, own: 0 },
  ])
  failure = new InvocationError('TypeError', { status: 200, retryable: true })
  await run()
  expect(
    await sql`select held, next_attempt_at < clock_timestamp() + interval '1 second' soon from outbox`,
  ).toEqual([{ held: false, soon: true }])
})

test('a pass ends even if more creators than a claim visits have no due event', async () => {
  await complete(1)
  await sql`
    insert into outbox (payload, creator, next_attempt_at)
    select payload, n, now() + interval '1 hour' from outbox, generate_series(1, 2500) n`
  const seen: string[] = []
  expect(await deliveryBy(async ({ id }) => void seen.push(id))()).toEqual({ failed: false, pauseMs: 0 })
  expect(seen).toHaveLength(1)
  // Also from the middle of a round, where the next pass may start.
  const deliverDue = deliveryBy(async ({ id }) => void seen.push(id))
  expect(await deliverDue()).toEqual({ failed: false, pauseMs: 0 })
  await complete(1)
  await deliverDue()
  expect(seen).toHaveLength(2)
})

test('a claim costs the same with 300,000 waiting events as with ten', async () => {
  const claim = async (after: outbox.Turn, withHeld: boolean) => {
    const begun = performance.now()
    const { events } = await outbox.claimEvents(db, { limit: 10, leaseMs: 60_000, after, withHeld })
    return { creators: events.map(({ payload }) => creatorOf(payload)), ms: performance.now() - begun }
  }
  await wait(1, 300_000)
  await wait(2, 1)
  await wait(3, 100_000, { dueInMs: 3_600_000 })
  await wait(4, 100_000, { held: true })
  await sql`analyze outbox`
  const times: number[] = []
  expect((await claim(outbox.firstTurn, false)).creators).toContain(2)
  for (let i = 0; i < 50; i++) {
    const { creators, ms } = await claim(outbox.firstTurn, i % 2 === 0)
    expect(creators).toHaveLength(10)
    times.push(ms)
  }
  const [median = 0] = times.sort((a, b) => a - b).slice(25)
  // About 2 ms. Reading past the events of one creator takes 100 ms and more.
  expect(median).toBeLessThan(50)
})
