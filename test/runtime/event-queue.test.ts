/** The queue of Events on a real Postgres, with functions of the test. */
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { createDestination } from '../../workers/lambda/destination.ts'
import { type EventQueue, startEventQueue } from '../../workers/lambda/event-queue.ts'
import type { Execution } from '../../workers/lambda/execution.ts'
import type { LambdaFunction } from '../../workers/lambda/lambda-function.ts'
import { createTestExecution } from '../support/invoke-api.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const patience = { timeout: 60_000, interval: 20 }
const arn = 'arn:aws:lambda:us-east-1:000000000000:function:task-notifier'

let server: TestPostgres
let sql: postgres.Sql
let db: ReturnType<typeof createDatabase>
let directory: string
const queues: EventQueue[] = []

beforeAll(async () => {
  server = await startTestPostgres()
  await migrateDatabase(server.url())
  sql = server.sql()
  directory = await mkdtemp(join(tmpdir(), 'event-queue-'))
  db = createDatabase((own) => postgres(server.url(), { ...valueOptions, ...own }), {
    poolSize: 5,
    timeoutMs: 60_000,
  })
})
afterAll(async () => {
  await db?.close()
  await server?.stop()
  await rm(directory, { recursive: true, force: true })
})
afterEach(async () => {
  await Promise.all(queues.splice(0).map((queue) => queue.stop()))
  await sql`truncate notifier_events`
})

type Options = Partial<Parameters<typeof startEventQueue>[0]>

function start(handler: LambdaFunction, options: Options = {}) {
  const { execution, log, lines } = createTestExecution(handler)
  const queue = startEventQueue({
    db,
    execution,
    retryDelaysMs: [10, 20],
    maximumAgeMs: 3_600_000,
    leaseMs: 60_000,
    log,
    ...options,
  })
  queues.push(queue)
  return { queue, lines }
}

/** @returns the request id */
async function put(queue: EventQueue, event: unknown = {}) {
  const requestId = crypto.randomUUID()
  await queue.put({ requestId, arn, payload: JSON.stringify(event) })
  return requestId
}

const rows = () => sql`
  select request_id, claims, failures, deferrals, condition, dead_at is not null dead,
    extract(epoch from next_attempt_at - clock_timestamp())::float8 wait
  from notifier_events order by received_at`
const soon = <T>(check: () => T | Promise<T>) => vi.waitFor(check, patience)
const fail = async () => {
  throw new TypeError('boom')
}

test('several hosts handle each event once, with more events than slots, and leave nothing', async () => {
  const handled: unknown[] = []
  const count: LambdaFunction = async (event) => void handled.push(event)
  const [first, second] = [start(count), start(count)]
  const numbers = Array.from({ length: 60 }, (_, n) => n)
  await Promise.all(numbers.map((n) => put(n % 2 ? first.queue : second.queue, n)))
  await soon(async () => expect(await rows()).toEqual([]))
  expect(handled.sort((a, b) => Number(a) - Number(b))).toEqual(numbers)
})

test('leaves the events of another function alone', async () => {
  const { queue } = start(async () => expect.unreachable())
  await sql`
    insert into notifier_events ${sql({ request_id: crypto.randomUUID(), function_name: 'other', function_arn: arn, payload: '1' })}`
  const mine = start(async () => {})
  await put(mine.queue)
  await soon(async () => expect(await rows()).toHaveLength(1))
  await queue.stop()
  expect(await rows()).toMatchObject([{ claims: 0 }])
})

test('retries a failing event after each delay, then writes it to the file', async () => {
  const path = join(directory, 'made/failed.jsonl')
  const tries: { at: number; id: string }[] = []
  const { queue, lines } = start(
    async (_, { awsRequestId }) => {
      tries.push({ at: performance.now(), id: awsRequestId })
      return fail()
    },
    { retryDelaysMs: [50, 1200], destination: createDestination(path) },
  )
  const requestId = await put(queue, { big: 1 })
  await soon(async () => expect(await rows()).toMatchObject([{ dead: true }]))
  expect(tries.map(({ id }) => id)).toEqual([requestId, requestId, requestId])
  const [first = 0, second = 0, third = 0] = tries.map(({ at }) => at)
  expect(second - first).toBeGreaterThanOrEqual(50)
  expect(third - second).toBeGreaterThanOrEqual(1200)
  expect(await rows()).toMatchObject([
    { claims: 3, failures: 3, deferrals: 0, condition: 'RetriesExhausted', dead: true },
  ])
  const written = (await readFile(path, 'utf8')).split('\n')
  expect(written).toHaveLength(2)
  expect(JSON.parse(written[0] ?? '')).toEqual({
    version: '1.0',
    timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/),
    requestContext: {
      requestId,
      functionArn: `${arn}:$LATEST`,
      condition: 'RetriesExhausted',
      approximateInvokeCount: 3,
    },
    requestPayload: { big: 1 },
    responseContext: { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' },
    responsePayload: {
      errorType: 'TypeError',
      errorMessage: 'boom',
      trace: expect.arrayContaining(['TypeError: boom']),
    },
  })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(lines.at(-1)).toMatchObject({ message: 'event is a dead letter', request_id: requestId })
})

test('an event that is too old becomes a dead letter without an attempt', async () => {
  const records: unknown[] = []
  const { queue } = start(async () => expect.unreachable(), {
    maximumAgeMs: -1,
    destination: async (record) => void records.push(JSON.parse(record)),
  })
  const requestId = await put(queue, 'old')
  await soon(async () => expect(await rows()).toMatchObject([{ dead: true, condition: 'EventAgeExceeded' }]))
  expect(records).toEqual([
    {
      version: '1.0',
      timestamp: expect.any(String),
      requestContext: {
        requestId,
        functionArn: `${arn}:$LATEST`,
        condition: 'EventAgeExceeded',
        approximateInvokeCount: 0,
      },
      requestPayload: 'old',
    },
  ])
})

test('without a free environment an event waits longer each time and keeps its retries', async () => {
  let busy = true
  let tries = 0
  const { execution: real } = createTestExecution(async () => {
    tries++
    return fail()
  })
  // Another caller has taken the environment that was free.
  const execution: Execution = { ...real, run: async (call) => (busy ? undefined : real.run(call)) }
  const { queue } = start(fail, { execution, retryDelaysMs: [0] })
  await put(queue)
  let deferred = 0
  let wait = 0
  // 1, 2, 4 and 8 s, minus the time since. A busy machine may miss one of them.
  while (deferred < 4) {
    const row = await soon(async () => {
      const [row] = await rows()
      expect(row).toMatchObject({ claims: row?.deferrals, failures: 0 })
      expect(row?.deferrals).toBeGreaterThan(deferred)
      return row
    })
    deferred = row?.deferrals
    wait = row?.wait
    expect(wait).toBeLessThanOrEqual(2 ** (deferred - 1))
    await sql`update notifier_events set next_attempt_at = clock_timestamp()`
  }
  expect(wait).toBeGreaterThan(2)
  busy = false
  await soon(async () => {
    await sql`update notifier_events set next_attempt_at = clock_timestamp() where dead_at is null`
    expect(await rows()).toMatchObject([{ dead: true, failures: 2 }])
  })
  expect(tries).toBe(2)
})

test('retries a failing destination; until then the event is not dead, and the function does not get it', async () => {
  const receiver = await startWebhookReceiver()
  receiver.answerWith((response) => void response.writeHead(503).end())
  let tries = 0
  const { queue, lines } = start(
    async () => {
      tries++
      return fail()
    },
    { retryDelaysMs: [], destination: createDestination(receiver.url) },
  )
  const requestId = await put(queue)
  await soon(async () =>
    expect(await rows()).toMatchObject([{ condition: 'RetriesExhausted', dead: false, deferrals: 1 }]),
  )
  expect(lines).toContainEqual(expect.objectContaining({ request_id: requestId, error: 'it answered 503' }))
  receiver.answerWith((response) => void response.writeHead(204).end())
  await sql`update notifier_events set next_attempt_at = clock_timestamp()`
  await soon(async () => expect(await rows()).toMatchObject([{ dead: true }]))
  expect(tries).toBe(1)
  const told = receiver.received.map(({ body }) => JSON.parse(body).requestContext)
  expect(told).toEqual([1, 1].map((n) => expect.objectContaining({ requestId, approximateInvokeCount: n })))
  await receiver.close()
})

test('an event of a dead host is claimed again when its lease ends, later each time', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let begun = 0
  const { queue } = start(
    async () => {
      begun++
      await held
    },
    { leaseMs: 300 },
  )
  await put(queue)
  // A function that is still running at the end of the lease looks like a dead host.
  await soon(() => expect(begun).toBeGreaterThanOrEqual(3))
  const [row] = await rows()
  expect(row).toMatchObject({ failures: 0, deferrals: 0, dead: false })
  release()
  await soon(async () => expect(await rows()).toEqual([]))
})

test('an outcome after the end of the claim is ignored', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  let began = false
  const { queue } = start(
    async () => {
      began = true
      await held
      return fail()
    },
    { retryDelaysMs: [] },
  )
  await put(queue)
  await soon(() => expect(began).toBe(true))
  await sql`update notifier_events set claims = claims + 1`
  release()
  await queue.stop()
  expect(await rows()).toMatchObject([{ claims: 2, failures: 0, condition: null, dead: false }])
})

test('records a payload that is nested too deep for JSON.stringify unchanged, in one line', async () => {
  const records: string[] = []
  const depth = 200_000
  const payload = `[\n1e400, ${'['.repeat(depth)}${']'.repeat(depth)}]`
  const { queue } = start(fail, {
    retryDelaysMs: [],
    destination: async (record) => void records.push(record),
  })
  await queue.put({ requestId: crypto.randomUUID(), arn, payload })
  await soon(async () => expect(await rows()).toMatchObject([{ dead: true }]))
  expect(records).toHaveLength(1)
  expect(records[0]).not.toContain('\n')
  expect(records[0]).toContain(`"requestPayload":${payload.replace('\n', ' ')},"responseContext":`)
  expect(() => JSON.parse(records[0] ?? '')).not.toThrow()
})
