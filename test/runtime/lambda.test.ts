/** The API as a Lambda function: the deployed zip, in an environment that is frozen between events. */
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, ScheduledEvent } from 'aws-lambda'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Connect } from '../../src/runtime/postgres/connections.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { reopenWhenStale } from '../../src/runtime/postgres/reopen-when-stale.ts'
import { newName } from '../support/client.ts'
import { type Lambda, startLambda } from '../support/lambda.ts'
import { makeHttpEvent } from '../support/lambda-front.ts'
import { startNotifier } from '../support/lambda-targets.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const patience = { timeout: 60_000, interval: 50 }
const secret = { JWT_SECRET: 'a secret that only the tests know: 32 bytes and more' }

let postgres: TestPostgres
let webhook: Awaited<ReturnType<typeof startWebhookReceiver>>
let notifier: Awaited<ReturnType<typeof startNotifier>>
let settings: Record<string, string>
let api: Lambda

beforeAll(async () => {
  ;[postgres, webhook] = await Promise.all([startTestPostgres(), startWebhookReceiver()])
  settings = { ...secret, DATABASE_URL: postgres.url(), BCRYPT_COST: '4', RATE_LIMIT_ANONYMOUS: '1000/60s' }
  notifier = await startNotifier(webhook.url)
  const migrations = await startLambda('migrate', settings)
  expect(await migrations.invoke({})).toEqual({
    payload: { schema: expect.stringMatching(/^\d{4}_.+\.sql$/) },
  })
  await migrations.stop()
  api = await startLambda('api', { ...settings, ...notifier.settings })
})
afterAll(async () => {
  await Promise.all([api?.stop(), notifier?.stop(), webhook?.close()])
  await postgres?.stop()
})

type Answer = {
  status: number
  headers: Record<string, unknown>
  // biome-ignore lint/suspicious/noExplicitAny: the body of an answer can be any JSON.
  body: any
}

async function answerTo(event: unknown, lambda = api): Promise<Answer> {
  const { payload, error } = await lambda.invoke(event)
  if (error) throw new Error(`the function failed: ${JSON.stringify(error)}`)
  const result = payload as APIGatewayProxyStructuredResultV2
  const headers = Object.fromEntries(
    Object.entries(result.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]),
  )
  const text = Buffer.from(result.body ?? '', result.isBase64Encoded ? 'base64' : 'utf8').toString()
  const isJson = /json/.test(String(headers['content-type'])) && text !== ''
  return { status: result.statusCode ?? 0, headers, body: isJson ? JSON.parse(text) : text }
}

type Options = Partial<Omit<APIGatewayProxyEventV2, 'requestContext'>> & {
  token?: string
  json?: unknown
  sourceIp?: string
}

function send(method: string, path: string, { token, json, headers, ...rest }: Options = {}, lambda = api) {
  const [rawPath = '', rawQueryString = ''] = path.split('?')
  const event = makeHttpEvent({
    method,
    rawPath,
    rawQueryString,
    headers: {
      ...(json !== undefined ? { 'content-type': 'application/json' } : {}),
      ...(token !== undefined ? { authorization: `Bearer ${token}` } : {}),
      ...headers,
    },
    ...(json !== undefined ? { body: JSON.stringify(json) } : {}),
    ...rest,
  })
  return answerTo(event, lambda)
}

async function register(lambda = api) {
  const json = { username: newName(), password: 'correct horse' }
  expect(await send('POST', '/api/register/', { json }, lambda)).toMatchObject({ status: 201 })
  const { body } = await send('POST', '/api/token/', { json }, lambda)
  return { username: json.username, token: body.access_token as string }
}

const notified = (title: string) => webhook.received.filter(({ body }) => body.includes(title)).length

/**
 * An EventBridge rule's event:
 * https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-run-lambda-schedule.html
 */
const scheduledEvent: ScheduledEvent = {
  version: '0',
  id: '53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa',
  'detail-type': 'Scheduled Event',
  source: 'aws.events',
  account: '123456789012',
  time: '2026-11-25T16:53:06Z',
  region: 'eu-central-1',
  resources: ['arn:aws:events:eu-central-1:123456789012:rule/my-scheduled-rule'],
  detail: {},
}

test('a completed task is notified before the answer', async () => {
  const { token, username } = await register()
  const title = newName('task')
  const created = await send('POST', '/api/tasks/', { token, json: { title } })
  expect(created).toMatchObject({ status: 201, body: { title, status: 'pending' } })
  const listed = await send('GET', `/api/tasks/?status=pending&search=${title}&count=true`, { token })
  expect(listed.body).toMatchObject({ count: 1, results: [{ title }] })
  const path = `/api/tasks/${created.body.id}/`
  expect(await send('PATCH', path, { token, json: { status: 'completed' } })).toMatchObject({ status: 200 })
  expect(notified(title)).toBe(1)
  const line = await notifier.line((one) => one.message === 'task completed' && one.title === title)
  expect(line).toMatchObject({ completed_by: username })
  expect(await postgres.sql()`select from outbox`).toHaveLength(0)
})

test("a function URL's event, as AWS documents it", async () => {
  // https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
  const event = {
    version: '2.0',
    routeKey: '$default',
    rawPath: '/api/rate-limit/',
    rawQueryString: '',
    cookies: ['cookie1', 'cookie2'],
    headers: { header1: 'value1', header2: 'value1,value2' },
    queryStringParameters: { parameter1: 'value1,value2', parameter2: 'value' },
    requestContext: {
      accountId: '123456789012',
      apiId: '<urlid>',
      authentication: null,
      authorizer: null,
      domainName: '<url-id>.lambda-url.us-west-2.on.aws',
      domainPrefix: '<url-id>',
      http: {
        method: 'GET',
        path: '/api/rate-limit/',
        protocol: 'HTTP/1.1',
        sourceIp: '123.123.123.123',
        userAgent: 'agent',
      },
      requestId: 'id',
      routeKey: '$default',
      stage: '$default',
      time: '12/Mar/2020:19:03:58 +0000',
      timeEpoch: 1583348638390,
    },
    body: null,
    pathParameters: null,
    isBase64Encoded: false,
    stageVariables: null,
  }
  const { headers, domainName, ...rest } = { ...event, domainName: 'abc.lambda-url.us-west-2.on.aws' }
  const requestContext = { ...event.requestContext, domainName }
  expect(await answerTo({ ...rest, headers, requestContext })).toMatchObject({
    status: 200,
    body: { limit: 1000, remaining: 1000 },
  })
})

describe('the schedule', () => {
  test.each([
    ["a rule's event", scheduledEvent],
    ["the Scheduler's own event", { ...scheduledEvent, source: 'aws.scheduler', detail: '{}' }],
  ])('%s delivers the events that requests left, and deletes expired rows', async (_, event) => {
    const port = await findFreePort()
    const away = await startLambda('api', {
      ...settings,
      ...notifier.settings,
      NOTIFIER_ENDPOINT: `http://127.0.0.1:${port}`,
    })
    const { token } = await register(away)
    const title = newName('left')
    const json = { title, status: 'completed' }
    expect(await send('POST', '/api/tasks/', { token, json }, away)).toMatchObject({ status: 201 })
    expect(notified(title)).toBe(0)
    const sql = postgres.sql()
    const waiting = await sql`select attempts from outbox where payload::text like ${`%${title}%`}`
    expect(waiting).toEqual([{ attempts: 1 }])
    await sql`update sessions set expires_at = now() - interval '2 days' where id = (select max(id) from sessions)`

    await expect
      .poll(async () => {
        expect(await api.invoke(event)).toEqual({ payload: null })
        return notified(title)
      }, patience)
      .toBe(1)
    expect(await sql`select from outbox`).toHaveLength(0)
    expect(await sql`select from sessions where expires_at < now() - interval '1 day'`).toHaveLength(0)
    await away.stop()
  })
})

test('an Event has left the outbox for the queue before the answer', async () => {
  const queue = await startNotifier(webhook.url, { NOTIFIER_DATABASE_URL: settings.DATABASE_URL ?? '' })
  const queueing = await startLambda('api', {
    ...settings,
    ...queue.settings,
    NOTIFIER_INVOCATION: 'Event',
  })
  const { token } = await register(queueing)
  const title = newName('queued')
  const json = { title, status: 'completed' }
  expect(await send('POST', '/api/tasks/', { token, json }, queueing)).toMatchObject({ status: 201 })
  expect(await postgres.sql()`select from outbox`).toHaveLength(0)
  await expect.poll(() => notified(title), patience).toBe(1)
  await queueing.stop()
  await queue.stop()
})

test('an answer does not wait for a slow notifier; the event is delivered later', async () => {
  const { token } = await register()
  const title = newName('slow')
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  webhook.answerWith(async (response) => {
    await held
    response.writeHead(200).end()
  })
  const json = { title, status: 'completed' }
  expect(await send('POST', '/api/tasks/', { token, json })).toMatchObject({ status: 201 })
  // The environment is now frozen while it waits for the webhook.
  expect(notified(title)).toBe(1)
  const sql = postgres.sql()
  expect(await sql`select attempts from outbox`).toEqual([{ attempts: 1 }])
  webhook.answerWith((response) => void response.writeHead(200).end())
  release()
  await expect
    .poll(async () => {
      await api.invoke(scheduledEvent)
      return sql`select from outbox`
    }, patience)
    .toHaveLength(0)
  await notifier.line((line) => line.message === 'task completed' && line.title === title)
})

test('an environment that ends during a delivery loses no event, and notifies nobody twice', async () => {
  const doomed = await startLambda('api', { ...settings, ...notifier.settings })
  const { token } = await register(doomed)
  const title = newName('doomed')
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  webhook.answerWith(async (response) => {
    await held
    response.writeHead(200).end()
  })
  const json = { title, status: 'completed' }
  expect(await send('POST', '/api/tasks/', { token, json }, doomed)).toMatchObject({ status: 201 })
  await doomed.stop()
  webhook.answerWith((response) => void response.writeHead(200).end())
  release()
  await notifier.line((line) => line.message === 'task completed' && line.title === title)
  const sql = postgres.sql()
  expect(await sql`select attempts from outbox`).toEqual([{ attempts: 1 }])
  // Ends the lease of the claimed event, which is then due again.
  await sql`update outbox set next_attempt_at = now()`
  expect(await api.invoke(scheduledEvent)).toEqual({ payload: null })
  expect(await sql`select from outbox`).toHaveLength(0)
  expect(notified(title)).toBe(1)
})

test('limits count by the address that AWS reports, for all headers', async () => {
  const sourceIp = '198.51.100.7'
  const remaining = async (headers: Record<string, string>, from = sourceIp) =>
    (await send('GET', '/api/tasks/', { sourceIp: from, headers })).headers['x-ratelimit-remaining']
  expect(await remaining({ 'x-forwarded-for': '203.0.113.1' })).toBe('999')
  expect(await remaining({ 'x-forwarded-for': '203.0.113.2', forwarded: 'for=203.0.113.3' })).toBe('998')
  expect(await remaining({ 'x-forwarded-for': sourceIp }, '198.51.100.8')).toBe('999')
})

describe('odd requests', () => {
  test('accepts bodies as base64: a form with octets beyond ASCII, and JSON', async () => {
    const username = newName()
    const body = Buffer.from(`username=${username}&password=p%C3%A4ssw%C3%B6rd+%2B1`).toString('base64')
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect(await send('POST', '/api/register/', { headers, body, isBase64Encoded: true })).toMatchObject({
      status: 201,
      body: { username },
    })
    const json = Buffer.from(JSON.stringify({ username, password: 'pässwörd +1' })).toString('base64')
    const answer = await send('POST', '/api/token/', {
      headers: { 'content-type': 'application/json' },
      body: json,
      isBase64Encoded: true,
    })
    expect(answer).toMatchObject({ status: 200 })
  })

  test('keeps the encoding and the repetitions of query parameters', async () => {
    const { token } = await register()
    const title = 'Ä + b & 100 %'
    await send('POST', '/api/tasks/', { token, json: { title } })
    const found = async (query: string) => (await send('GET', `/api/tasks/?${query}`, { token })).body.results
    expect(await found('search=%C3%84+%2B%20b%20%26%20100+%25')).toMatchObject([{ title }])
    expect(await found('search=%C3%84+%2B+c')).toEqual([])
    expect(await send('GET', '/api/tasks/?limit=1&limit=2', { token })).toMatchObject({ status: 400 })
  })

  test('accepts headers that are empty, list several values, or have octets beyond ASCII', async () => {
    const { token } = await register()
    const { body: task, headers } = await send('POST', '/api/tasks/', { token, json: { title: 'Buy milk' } })
    const change = (ifMatch: string) =>
      send('PATCH', `/api/tasks/${task.id}/`, {
        token,
        json: { title: 'Buy oat milk' },
        headers: { 'if-match': ifMatch },
      })
    expect(await change('')).toMatchObject({ status: 412 })
    expect(await change('"é"')).toMatchObject({ status: 412 })
    expect(await change(`"7",${headers.etag}`)).toMatchObject({ status: 200 })
    const key = { 'idempotency-key': 'clé' }
    expect(await send('POST', '/api/tasks/', { token, json: { title: 'x' }, headers: key })).toMatchObject({
      status: 400,
    })
  })

  test('ignores the body of a GET, and cookies', async () => {
    const headers = { 'content-type': 'application/json' }
    const answer = await send('GET', '/healthz', { headers, body: '{', cookies: ['a=1', 'b=2'] })
    expect(answer).toMatchObject({ status: 200, body: { status: 'alive' } })
  })

  test.each([
    ['what is not there', 'GET', '/nothing', 404],
    ['a path with a question mark in it', 'GET', '/api/tasks%3Flimit=1', 404],
    ['a percent sign that encodes nothing', 'GET', '/%zz', 404],
    ['a method that is not possible here', 'PUT', '/api/tasks/', 405],
    ['a method that no client of the Fetch standard may use', 'TRACE', '/api/tasks/', 400],
  ])('%s gets a problem document', async (_, method, path, status) => {
    expect(await send(method, path)).toMatchObject({
      status,
      headers: { 'content-type': 'application/problem+json', 'x-request-id': expect.any(String) },
      body: { status, request_id: expect.any(String) },
    })
  })

  test('a body of more than 64 KiB is refused', async () => {
    const json = { username: newName(), password: 'x'.repeat(70_000) }
    expect(await send('POST', '/api/register/', { json })).toMatchObject({
      status: 413,
      body: { status: 413 },
    })
  })
})

test('the reference page is in the zip', async () => {
  const page = await send('GET', '/docs')
  expect(page).toMatchObject({
    status: 200,
    headers: { 'content-type': expect.stringContaining('text/html') },
  })
  const links = [...String(page.body).matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)]
  expect(links.length).toBeGreaterThan(2)
  for (const [, path = ''] of links)
    expect(await send('GET', new URL(path, 'http://host/docs').pathname), path).toMatchObject({ status: 200 })
})

test('connections that were closed while the environment was frozen cause no error', async () => {
  let now = 0
  const database = reopenWhenStale({
    open: () => {
      const connect: Connect = (own) =>
        postgres.sql(undefined, { ...valueOptions, ...own } as object) as never
      return createDatabase(connect, { poolSize: 2, timeoutMs: 60_000 })
    },
    close: (open) => open.close(),
    staleAfterMs: 30_000,
    now: () => now,
  })
  const backend = async () => {
    const [row] = await database.use().run((sql) => sql<[{ pid: number }]>`select pg_backend_pid() pid`)
    return row.pid
  }
  const first = await backend()
  now += 30_000
  expect(await backend()).toBe(first)
  now += 30_001
  await postgres.sql()`select pg_terminate_backend(${first})`
  expect(await backend()).not.toBe(first)
})

test('an unknown event is one clear error, and the next event is served', async () => {
  const sqs = { Records: [{ messageId: '059f36b4', body: 'Test message.', eventSource: 'aws:sqs' }] }
  // The event of a REST API, payload format 1.0.
  const rest = {
    version: '1.0',
    resource: '/',
    path: '/healthz',
    httpMethod: 'GET',
    requestContext: {},
    headers: {},
  }
  for (const event of [sqs, rest, {}, null, 'text', { ...scheduledEvent, source: 'my.app' }]) {
    expect(await api.invoke(event)).toMatchObject({
      error: { errorType: 'TypeError', errorMessage: expect.stringContaining('payload format 2.0') },
    })
  }
  expect(await send('GET', '/healthz')).toMatchObject({ status: 200 })
})

describe('a missing or wrong setting stops the start with its name', () => {
  test.each([
    [['DATABASE_URL', 'JWT_SECRET'], { DATABASE_URL: '', JWT_SECRET: '' }],
    [['DATABASE_URL'], { DATABASE_URL: 'mysql://localhost/tasks' }],
    [['AWS_ACCESS_KEY_ID'], { AWS_ACCESS_KEY_ID: '' }],
  ])('%j', async (names, wrong) => {
    const lambda = await startLambda('api', { ...settings, ...wrong })
    const error = await lambda.ready
    expect(error).toMatchObject({ errorType: 'StartError' })
    for (const name of names) expect(error?.errorMessage).toMatch(new RegExp(`^${name}.*: `, 'm'))
    await lambda.stop()
  })
})
