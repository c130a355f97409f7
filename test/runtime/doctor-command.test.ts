/**
 * `npm run doctor` beside real servers: the same refusals and warnings as a start, and the state of each
 * service.
 */
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { schemaVersion } from '../../src/ports/schema-version.ts'
import { runBuilt } from '../support/commands.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { createService, migrateDatabase } from '../support/processes.ts'
import { startSmtpServer } from '../support/smtp-server.ts'

type Result = { name: string; status: string; detail: string; advice?: string }
type Environment = Record<string, string>

const JWT_SECRET = 'a secret that only the tests know: 32 bytes and more'

let server: TestPostgres
let directory: string

beforeAll(async () => {
  server = await startTestPostgres({ synchronous_commit: 'on' })
  await migrateDatabase(server.url())
  directory = await temporaryDirectory()
})
afterAll(async () => {
  await server?.stop()
  await rm(directory, { recursive: true, force: true })
})

const external = (url = server.url()) => ({ DATABASE_URL: url, JWT_SECRET })

/** Uses free ports unless others are given. */
async function withPorts(environment: Environment): Promise<Environment> {
  const [PORT, NOTIFIER_PORT] = [await findFreePort(), await findFreePort()].map(String)
  return {
    PORT: String(PORT),
    NOTIFIER_PORT: String(NOTIFIER_PORT),
    DATA_DIR: join(directory, 'none'),
    ...environment,
  }
}

async function doctor(environment: Environment = {}) {
  const { code, stdout, stderr } = await runBuilt('doctor', ['--json'], {
    environment: await withPorts(environment),
  })
  expect(stderr).toBe('')
  expect(stdout).not.toContain('hunter2')
  const { findings, ...counts } = JSON.parse(stdout) as { findings: Result[]; failed: number }
  expect(code).toBe(counts.failed > 0 ? 1 : 0)
  return {
    of: (name: string) => findings.filter((result) => result.name === name),
    bad: findings.filter(({ status }) => status !== 'ok').map(({ name, status }) => `${name} ${status}`),
    lines: findings
      .filter(({ status }) => status === 'failed')
      .map(({ detail, advice }) => [detail, advice].filter(Boolean).join('; ')),
  }
}

test('before the first start all checks pass, and nothing is made', async () => {
  const { bad, of } = await doctor()
  expect(bad).toEqual([])
  expect(of('database')[0]?.detail).toMatch(/^embedded Postgres 17/)
  expect(await readdir(directory)).toEqual([])
})

test('a running service answers for its readiness, its notifier a DryRun; no notification is sent', async (context) => {
  const service = await createService(context, { PORT: String(await findFreePort()) })
  await service.start()
  const look = () => doctor({ ...service.settings, DATA_DIR: service.dataDirectory })
  const files = async () => (await readdir(service.dataDirectory)).sort()
  const before = await files()
  const { bad, of } = await look()
  expect(bad).toEqual([])
  expect(of('readiness')[0]?.detail).toBe('the service is ready')
  expect(of('notifier')[0]?.detail).toMatch(/^task-notifier at .* takes invocations \(DryRun\)$/)
  expect(of('ports')).toEqual([])
  expect(service.webhook.received).toEqual([])
  expect(await files()).toEqual(before)

  // A key pair that the notifier does not know.
  const path = join(service.dataDirectory, 'notifier-credentials')
  const keys = await readFile(path, 'utf8')
  await writeFile(path, keys.replace(/(secret_access_key=).*/, '$1other'))
  expect((await look()).of('notifier')).toMatchObject([
    { status: 'failed', detail: expect.stringContaining('403') },
  ])
})

describe('a refusal of the start is a failure with the same words', () => {
  const cases: [string, () => Environment | Promise<Environment>][] = [
    ['several bad settings', () => ({ PORT: '65536', CACHE: 'maybe', NOTIFY_WEBHOOK_URL: 'ftp://hunter2' })],
    ['settings that exclude each other', () => ({ WEB_CONCURRENCY: '4' })],
    ['a missing JWT_SECRET', () => ({ HOST: '0.0.0.0' })],
    ['too many connections', () => ({ MAX_CONNECTIONS: '1000000' })],
    ['a password that the database refuses', () => external(server.url().replace(/:[^:@]*@/, ':hunter2@'))],
    ['a certificate that cannot be read', () => ({ ...external(), DATABASE_CA: '/nowhere/ca.pem' })],
    ['a schema that needs a newer program', async () => external(await databaseOfNewerProgram())],
    ['an address of another machine', () => ({ ...external(), HOST: '192.0.2.1' })],
    ['a data directory that is a file', () => makeFile('file', '')],
    ['a secret that is too short', () => makeDataDirectory('short', 'short', 0o600)],
    ['a secret that other users may read', () => makeDataDirectory('open', 'x'.repeat(40), 0o644)],
  ]
  test.each(cases)('%s', async (_, make) => {
    const environment = await withPorts(await make())
    const start = await runBuilt('api', [], { environment })
    expect(start.code).toBe(1)
    const { lines } = await doctor(environment)
    expect(lines).toEqual(expect.arrayContaining(start.stderr.trim().split('\n')))
  })

  test('a port of another program', async ({ onTestFinished }) => {
    const other = createServer((socket) => socket.end())
    onTestFinished(() => void other.close())
    const taken = String(await listenOnLoopback(other))
    const environment = await withPorts({ PORT: taken })
    const start = await runBuilt('api', [], { environment })
    expect((await doctor(environment)).lines).toEqual([start.stderr.trim()])
  })
})

test('databases that are away, empty or newer', async () => {
  const away = await doctor(external('postgres://tasks:hunter2@127.0.0.1:1/tasks'))
  expect(away.bad).toEqual(['database warning', 'readiness warning', 'readiness failed'])
  expect(away.of('database')[0]?.detail).toContain('ECONNREFUSED')

  const name = await server.createDatabase()
  const empty = await doctor(external(server.url(name)))
  expect(empty.of('database')[0]?.detail).toContain('run npm run migrate')
  expect(empty.lines).toEqual(['unavailable: migrations'])
  await migrateDatabase(server.url(name))
  expect((await doctor(external(server.url(name)))).bad).toEqual([])
  await server.sql(name)`insert into schema_migrations values (${schemaVersion + 1}, '1000_later.sql', '')`
  expect((await doctor(external(server.url(name)))).bad).toEqual(['database warning'])
})

test('mail servers are logged in to, and get no mail', async ({ onTestFinished }) => {
  const smtp = await startSmtpServer({ password: 'hunter2' })
  onTestFinished(() => smtp.close())
  const mail = (password: string, port: number) => ({
    NOTIFY_EMAIL_TO: 'ops@example.com',
    SMTP_URL: `smtp://tasks:${password}@127.0.0.1:${port}`,
  })
  expect((await doctor(mail('hunter2', smtp.port))).of('e-mail')[0]?.detail).toMatch(/none was sent$/)
  expect((await doctor(mail('hunter3', smtp.port))).bad).toEqual(['e-mail failed'])
  expect((await doctor(mail('hunter2', 1))).of('e-mail')[0]?.detail).toMatch(/ECONNREFUSED/)
  expect(smtp.mails).toEqual([])
})

test('a report for a person: a line for each result, advice below it, the sums at the end', async () => {
  const { code, stdout, stderr } = await runBuilt('doctor', [], { environment: { PORT: '70000' } })
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
  expect(stdout).toMatch(
    /^failed +settings +PORT: "70000" is not usable\n +-> give a whole number from 0 to 65535\n/,
  )
  expect(stdout).toMatch(/\n\n0 ok, 0 warnings, 1 failed\n$/)
  for (const args of [['now'], ['--jsn']])
    expect(await runBuilt('doctor', args)).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^[^\n]*: see npm run doctor -- --help\n$/),
    })
  expect(await runBuilt('doctor', ['--help'])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('--json'),
  })
})

async function databaseOfNewerProgram() {
  const name = await server.createDatabase()
  await migrateDatabase(server.url(name))
  await server.sql(name)`insert into schema_migrations values (1000, '1000_later.sql', '', now(), 999)`
  return server.url(name)
}

async function makeFile(name: string, text: string) {
  const DATA_DIR = join(directory, name)
  await writeFile(DATA_DIR, text)
  return { DATA_DIR }
}

async function makeDataDirectory(name: string, secret: string, mode: number) {
  const DATA_DIR = join(directory, name)
  await mkdir(DATA_DIR)
  await writeFile(join(DATA_DIR, 'jwt-secret'), secret)
  await chmod(join(DATA_DIR, 'jwt-secret'), mode)
  return { DATA_DIR }
}
