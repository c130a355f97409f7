/** `npm run notifier` beside the notifier of npm start. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { AwsV4Signer } from 'aws4fetch'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createLambdaClient } from '../../src/outbox/lambda-client.ts'
import { findEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { credentialsPath, readCredentials } from '../../src/runtime/notifier/credentials.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { root } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { type ApiProcess, descendantsOf, startApi } from '../support/processes.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const patience = { timeout: 60_000, interval: 100 }
let api: ApiProcess
let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>
let onFailure: string

beforeAll(async () => {
  receiver = await startWebhookReceiver()
  onFailure = join(tmpdir(), `failed-${crypto.randomUUID()}.jsonl`)
  api = await startApi({
    environment: {
      NOTIFY_WEBHOOK_URL: receiver.url,
      NOTIFIER_RETRY_DELAYS: '10ms',
      NOTIFIER_ON_FAILURE: onFailure,
      LOG_LEVEL: 'debug',
    },
  })
})
afterAll(async () => {
  await api?.stop()
  await rm(onFailure, { force: true })
  await receiver?.close()
})

async function run(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(root, 'dist/notifier-inspect.js'), ...args], {
    env: {
      PATH: process.env.PATH,
      NOTIFIER_PORT: String(api.notifierPort),
      DATA_DIR: api.dataDirectory,
      ...env,
    },
  })
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { code, stdout, stderr }
}

const credentials = async () => {
  const kept = await readCredentials(credentialsPath(api.dataDirectory))
  if (!kept) throw new Error('no keys')
  return kept
}

async function send(invocation: 'RequestResponse' | 'Event', title = `By ${invocation}`) {
  const event = makeCompletionEvent({ title })
  const endpoint = `http://127.0.0.1:${api.notifierPort}`
  const options = { functionName: 'task-notifier', region: 'us-east-1', timeoutMs: 30_000 }
  await createLambdaClient({ ...options, endpoint, invocation, credentials: await credentials() }).invoke(
    event,
  )
  return event
}

test('shows successful invocations with their output', async () => {
  expect(await run(['invocations'])).toEqual({
    code: 0,
    stdout: 'none since the notifier was started\n',
    stderr: '',
  })
  const event = await send('RequestResponse')
  const { stdout } = await run(['invocations', '--logs'])
  const [first, ...log] = stdout.trimEnd().split('\n')
  expect(first).toMatch(/^\S+Z {2}[0-9a-f-]{36} {2}RequestResponse {2}attempt 1 {2}[\d.]+ ms {2}ok$/)
  expect(log[0]).toMatch(/^ {2}\| START RequestId: /)
  expect(log[1]).toContain(event.id)
})

test('lists a failed Event, writes it to the file, and handles it after redrive', async () => {
  receiver.answerWith((response) => void response.writeHead(500).end())
  const event = await send('Event')
  await vi.waitFor(
    async () => expect((await run(['events'])).stdout).toContain('0 waiting, 1 dead'),
    patience,
  )
  const { events } = JSON.parse((await run(['events', '--json'])).stdout)
  const [{ request_id: id }] = events
  expect(events).toMatchObject([
    { condition: 'RetriesExhausted', invocations: 2, payload: JSON.stringify(event).slice(0, 500) },
  ])
  expect((await run(['events'])).stdout).toMatch(
    new RegExp(`${id}  RetriesExhausted  2 attempts  NotificationError: Webhook failed: it answered 500\\n`),
  )
  expect(JSON.parse(await readFile(onFailure, 'utf8')).requestContext).toMatchObject({ requestId: id })
  const failed = (await run(['invocations'])).stdout.split('\n').filter((line) => line.includes(id))
  expect(failed).toEqual([
    expect.stringMatching(/Event {2}attempt 2 {2}.*Error: Webhook failed/),
    expect.stringMatching(/Event {2}attempt 1 {2}.*Error: Webhook failed/),
  ])

  receiver.answerWith((response) => void response.writeHead(200).end())
  expect(await run(['redrive', id])).toMatchObject({ code: 0, stdout: '1 put back into the queue\n' })
  await vi.waitFor(async () => expect((await run(['events'])).stdout).toBe('0 waiting, 0 dead\n'), patience)
  expect(receiver.received.filter(({ body }) => body.includes(event.id))).toHaveLength(3)
  expect(await run(['redrive', id])).toEqual({
    code: 1,
    stdout: '',
    stderr: `${id}: no dead letter has this request id\n`,
  })
  expect(await run(['redrive', '--all'])).toMatchObject({ code: 0, stdout: '0 put back into the queue\n' })
})

test('user text does not control the terminal', async () => {
  receiver.answerWith((response) => void response.writeHead(500).end())
  const hostile = 'a\u009b2Jb\u2028c\u202ed'
  await send('Event', hostile)
  await vi.waitFor(
    async () => expect((await run(['events'])).stdout).toContain('0 waiting, 1 dead'),
    patience,
  )
  for (const [args, title] of [
    [['events'], '"a 2Jb c d"'],
    // Log lines escape them.
    [['invocations', '--logs'], String.raw`"a\u009b2Jb\u2028c\u202ed"`],
  ] as const) {
    const text = (await run([...args])).stdout
    expect(text).toContain(title)
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\u2028\u202e]/u)
  }
  expect(JSON.parse((await run(['events', '--json'])).stdout).events[0].payload).toContain(hostile)
  expect(await run(['drop', '--all'])).toMatchObject({ code: 0, stdout: '1 dropped\n' })
})

test('drops one dead letter or all', async () => {
  receiver.answerWith((response) => void response.writeHead(500).end())
  for (let n = 0; n < 3; n++) await send('Event')
  await vi.waitFor(
    async () => expect((await run(['events'])).stdout).toContain('0 waiting, 3 dead'),
    patience,
  )
  const [{ request_id: id }] = JSON.parse((await run(['events', '--json'])).stdout).events
  expect(await run(['drop', id])).toMatchObject({ code: 0, stdout: '1 dropped\n' })
  expect((await run(['events'])).stdout).not.toContain(id)
  expect(await run(['drop', '--all'])).toMatchObject({ code: 0, stdout: '2 dropped\n' })
  expect((await run(['events'])).stdout).toBe('0 waiting, 0 dead\n')
})

test.each<[string, string[], Record<string, string>, RegExp]>([
  ['no command', [], {}, /^give a command: see npm run notifier -- --help\n$/],
  ['an unknown one', ['list'], {}, /^unknown command "list": /],
  ['an argument too many', ['events', 'x'], {}, /^unknown argument "x": /],
  ['an unknown option', ['events', '--al'], {}, /^Unknown option '--al'.*--help\n$/],
  ['redrive of nothing', ['redrive'], {}, /^give either the request id of an event or --all: /],
  [
    'redrive of one and all',
    ['redrive', 'x', '--all'],
    {},
    /^give either the request id of an event or --all: /,
  ],
  [
    'no request id',
    ['redrive', 'x'],
    {},
    /^the notifier answered 400 InvalidParameterValueException id is no request id: x\n$/,
  ],
  ['no keys', ['events'], { DATA_DIR: '/nonexistent' }, /^no keys: run npm start/],
  [
    'nobody there',
    ['events'],
    { NOTIFIER_PORT: '1' },
    /^the notifier is not reachable at http:\/\/127\.0\.0\.1:1 \(.+\): run npm start/,
  ],
  [
    'wrong keys',
    ['invocations'],
    { AWS_ACCESS_KEY_ID: 'x', AWS_SECRET_ACCESS_KEY: 'y' },
    /^the notifier answered 403 UnrecognizedClientException /,
  ],
])('reports in one line: %s', async (_, args, env, message) => {
  const { code, stdout, stderr } = await run(args, env)
  expect(stderr).toMatch(message)
  expect(stderr.trimEnd()).not.toContain('\n')
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
})

test('answers 403 without the right keys', async () => {
  for (const [method, path] of [
    ['GET', 'invocations'],
    ['GET', 'state'],
    ['GET', 'events'],
    ['POST', 'redrive'],
    ['POST', 'drop'],
  ] as const) {
    const url = `http://127.0.0.1:${api.notifierPort}/inspection/${path}`
    expect((await fetch(url, { method })).status).toBe(403)
    const wrong = { ...(await credentials()), secretAccessKey: 'wrong' }
    const signed = await new AwsV4Signer({
      method,
      url,
      region: 'us-east-1',
      service: 'lambda',
      ...wrong,
    }).sign()
    expect((await fetch(url, { method, headers: signed.headers })).status).toBe(403)
  }
})

test.skipIf(process.platform !== 'linux')(
  'the database’s password is passed in the environment and shown nowhere',
  async () => {
    const password = (await findEmbeddedPostgres({ dataDirectory: api.dataDirectory }))?.password
    if (!password) throw new Error('no password')
    const pids = descendantsOf(api.child).filter(({ command }) => command.includes('notifier.js'))
    expect(pids).toHaveLength(1)
    const read = (name: string) => readFile(`/proc/${pids[0]?.pid}/${name}`, 'utf8')
    expect(await read('environ')).toContain(password)
    expect(await read('cmdline')).not.toContain(password)
    expect(JSON.stringify(api.lines)).not.toContain(password)
  },
)

test('says in one line that there is no queue', async () => {
  const port = String(await findFreePort())
  const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b', NOTIFIER_PORT: port }
  const alone = spawn(process.execPath, [join(root, 'dist/notifier.js')], {
    env: { PATH: process.env.PATH, LOG_LEVEL: 'silent', ...keys },
  })
  try {
    await vi.waitFor(
      async () => expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200),
      patience,
    )
    const { code, stderr } = await run(['events'], keys)
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^the notifier answered 400 .*set NOTIFIER_DATABASE_URL.*\n$/),
    })
  } finally {
    alone.kill('SIGKILL')
  }
})
