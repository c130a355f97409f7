import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { type NotifierProcess, startNotifier } from '../../src/runtime/notifier/process.ts'
import { readMigrations } from '../../src/runtime/postgres/migration-files.ts'
import { migrate } from '../../src/runtime/postgres/migrations.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

let directory: string
let port: number
let notifier: NotifierProcess
let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'notifier-invoke-'))
  port = await findFreePort()
  receiver = await startWebhookReceiver()
  notifier = await startNotifier({
    entry: join(root, 'dist/notifier.js'),
    port,
    dataDirectory: directory,
    functionName: 'task-notifier',
    region: 'us-east-1',
    environment: { LOG_LEVEL: 'silent', NOTIFY_WEBHOOK_URL: receiver.url },
    log: createLogger('silent'),
  })
})
afterAll(async () => {
  await notifier.stop()
  await receiver.close()
  await rm(directory, { recursive: true, force: true })
})

async function invoke(
  args: string[],
  { input = '', env = {} }: { input?: string; env?: Record<string, string> } = {},
) {
  const child = spawn(process.execPath, [join(root, 'dist/notifier-invoke.js'), ...args], {
    cwd: directory,
    env: { PATH: process.env.PATH, NOTIFIER_PORT: String(port), DATA_DIR: directory, ...env },
  })
  child.stdin.on('error', () => {}).end(input)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close'),
  ])
  return { code, stdout, stderr }
}

const result = (stdout: string) => JSON.parse(/^result: (.+)$/m.exec(stdout)?.[1] ?? '')

describe('--event', () => {
  test('reads a file, then the same event from standard input', async () => {
    const event = makeCompletionEvent()
    await writeFile(join(directory, 'event.json'), JSON.stringify(event))
    const first = await invoke(['--event', 'event.json'])
    expect(first).toMatchObject({ code: 0, stderr: '', stdout: expect.stringMatching(/^status: 200\n/) })
    expect(result(first.stdout)).toEqual({ handled: event.id, duplicate: false })
    const second = await invoke(['--event', '-'], { input: JSON.stringify(event) })
    expect(result(second.stdout)).toEqual({ handled: event.id, duplicate: true })
    expect(receiver.received.filter(({ body }) => body.includes(event.id))).toHaveLength(1)
  })

  test('--local needs no notifier', async () => {
    const event = makeCompletionEvent({ title: 'Here' })
    const env = { NOTIFIER_PORT: '1', DATA_DIR: '/nonexistent' }
    const { code, stdout, stderr } = await invoke(['--event', '-', '--local'], {
      input: JSON.stringify(event),
      env,
    })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(JSON.parse(stdout.split('\n')[0] ?? '')).toMatchObject({
      message: 'task completed',
      title: 'Here',
    })
    expect(result(stdout)).toEqual({ handled: event.id, duplicate: false })
  })

  test('prints the error of the function, with exit code 1', async () => {
    receiver.answerWith((response) => void response.writeHead(500).end())
    try {
      const { code, stdout } = await invoke(['--event', '-'], {
        input: JSON.stringify(makeCompletionEvent()),
      })
      expect(code).toBe(1)
      expect(stdout).toMatch(/^status: 200\nfunction error: Unhandled\nresult: /)
      expect(result(stdout)).toMatchObject({ errorMessage: 'Webhook failed: it answered 500' })
    } finally {
      receiver.answerWith((response) => void response.writeHead(200).end())
    }
  })

  test('uses the keys of the environment first, and names them when they are refused', async () => {
    const env = { AWS_ACCESS_KEY_ID: 'other', AWS_SECRET_ACCESS_KEY: 'other' }
    const { code, stdout, stderr } = await invoke(['--event', '-'], {
      input: JSON.stringify(makeCompletionEvent()),
      env,
    })
    expect(code).toBe(1)
    expect(stdout).toMatch(/^status: 403\n/)
    expect(stderr).toMatch(/^the keys came from AWS_ACCESS_KEY_ID; .+\n$/)
  })
})

describe('errors are one line', () => {
  const event = JSON.stringify(makeCompletionEvent())

  test.each<[string, string[], { input?: string; env?: Record<string, string> }, RegExp]>([
    ['neither', [], {}, /give either --event FILE or --task ID/],
    ['both', ['--event', '-', '--task', '1'], {}, /give either --event FILE or --task ID/],
    ['an unknown option', ['--evnt', 'x'], {}, /'--evnt'.* --help/],
    ['an argument too many', ['--event', '-', 'x'], {}, /"x".* --help/],
    ['no value', ['--task'], {}, /--task.* --help/],
    ['no such file', ['--event', 'none.json'], {}, /none\.json: cannot be read \(ENOENT\)/],
    ['no JSON', ['--event', '-'], { input: '{' }, /standard input: not JSON: /],
    ['no event', ['--event', '-'], { input: '{"id":1}' }, /standard input: Malformed event: /],
    [
      'nobody there',
      ['--event', '-'],
      { input: event, env: { NOTIFIER_PORT: '1' } },
      /not reachable at http:\/\/127\.0\.0\.1:1 .*npm start/,
    ],
    ['no URL', ['--event', '-'], { input: event, env: { NOTIFIER_ENDPOINT: 'nope' } }, /nope is no URL/],
    ['no keys', ['--event', '-'], { input: event, env: { DATA_DIR: './none' } }, /no keys: run npm start/],
    [
      'a bad webhook',
      ['--event', '-', '--local'],
      { input: event, env: { NOTIFY_WEBHOOK_URL: 'x' } },
      /^NOTIFY_WEBHOOK_URL/,
    ],
    ['no id', ['--task', 'seven'], {}, /--task seven: give the id/],
    ['no database', ['--task', '7'], {}, /no database: run npm start first/],
    ['no database URL', ['--task', '7'], { env: { DATABASE_URL: 'x' } }, /DATABASE_URL must look like/],
    [
      'a database that is not there',
      ['--task', '7'],
      { env: { DATABASE_URL: 'postgres://a:b@127.0.0.1:1/c' } },
      /cannot read the task from the database: .*ECONNREFUSED/,
    ],
  ])('%s', async (_, args, options, message) => {
    const { code, stdout, stderr } = await invoke(args, options)
    expect(stderr).toMatch(message)
    expect(stderr.trimEnd()).not.toContain('\n')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  })

  test('--help exits with 0', async () => {
    expect(await invoke(['--help'])).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('--local'),
    })
  })
})

describe('--task', () => {
  let postgres: TestPostgres

  beforeAll(async () => {
    postgres = await startTestPostgres()
    const sql = postgres.sql()
    await migrate(sql, await readMigrations(join(root, 'sql')), createLogger('silent'))
    const [user] = await sql`
      insert into users ${sql({ username: 'ann', password_hash: 'x' })} returning id`
    await sql`
      insert into tasks ${sql([
        { id: 7, title: 'Fix & paint', status: 'completed', created_by: user?.id },
        { id: 8, title: 'Open', status: 'pending', created_by: user?.id },
      ])}`
  })
  afterAll(() => postgres.stop())

  test.each(['the database of a running npm start', 'DATABASE_URL'])(
    'a completed task of %s',
    async (source) => {
      const env =
        source === 'DATABASE_URL'
          ? { DATABASE_URL: postgres.url() }
          : {
              DATA_DIR: postgres.dataDirectory,
              AWS_ACCESS_KEY_ID: notifier.credentials.accessKeyId,
              AWS_SECRET_ACCESS_KEY: notifier.credentials.secretAccessKey,
            }
      const { code, stdout, stderr } = await invoke(['--task', '7'], { env })
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      const { handled, duplicate } = result(stdout)
      expect(duplicate).toBe(false)
      const sent = receiver.received.find(({ body }) => body.includes(handled))
      expect(JSON.parse(sent?.body ?? '')).toMatchObject({
        text: 'Task 7 completed: `Fix &amp; paint`',
        event: {
          id: handled,
          resources: ['/api/tasks/7/'],
          detail: {
            task: {
              id: 7,
              title: 'Fix & paint',
              completed_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z$/),
            },
            completed_by: null,
          },
        },
      })
    },
  )

  test('a missing task, and one that is not completed', async () => {
    const env = { DATABASE_URL: postgres.url() }
    expect(await invoke(['--task', '9'], { env })).toMatchObject({
      code: 1,
      stderr: '--task 9: there is no such task\n',
    })
    const open = await invoke(['--task', '8'], { env })
    expect(open).toMatchObject({ code: 1, stderr: expect.stringMatching(/^--task 8: it is pending; .+\n$/) })
  })
})
