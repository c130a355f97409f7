/** `npm run doctor` on what is well and on what is not, with real servers behind every setting. */
import { chmod, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { schemaVersion } from '../../src/ports/schema-version.ts'
import { runBuilt } from '../support/commands.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { hasPgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { startPostgresCluster } from '../support/postgres-cluster.ts'
import { createService, migrateDatabase } from '../support/processes.ts'
import { startSmtpServer } from '../support/smtp-server.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

type Found = { name: string; status: string; detail: string; advice?: string }

/** A busy machine is slow to answer, which is no news here. */
const isSlow = ({ status, detail }: Found) => status === 'warning' && /answers in [\d.]+ ms$/.test(detail)

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

/** On ports that are free unless others are given. */
async function doctor(environment: Record<string, string> = {}) {
  const { code, stdout, stderr } = await runBuilt('doctor', ['--json'], {
    environment: {
      PORT: String(await findFreePort()),
      NOTIFIER_PORT: String(await findFreePort()),
      DATA_DIR: join(directory, 'none'),
      ...environment,
    },
  })
  expect(stderr).toBe('')
  const { findings, ...counts } = JSON.parse(stdout) as { findings: Found[]; ok: number; failed: number }
  expect(code).toBe(counts.failed > 0 ? 1 : 0)
  for (const { status, advice } of findings) expect(advice === undefined).toBe(status === 'ok')
  return {
    findings,
    counts,
    /** What was found under a name. */
    of: (name: string) => findings.filter((finding) => finding.name === name),
    bad: findings
      .filter((finding) => finding.status !== 'ok' && !isSlow(finding))
      .map(({ name, status }) => `${name} ${status}`),
  }
}

const external = (url = server.url()) => ({ DATABASE_URL: url, JWT_SECRET })

test('a laptop before the first start: all is well, and nothing was made', async () => {
  const { bad, of } = await doctor()
  expect(bad).toEqual([])
  expect(of('database')[0]?.detail).toMatch(/^its own, Postgres 17/)
  expect(await readdir(directory)).toEqual([])
})

test('a running service: it is asked how it is, its notifier whether it takes invocations; nothing is notified', async (context) => {
  const service = await createService(context, { PORT: String(await findFreePort()) })
  const api = await service.start()
  const look = () => doctor({ ...service.settings, DATA_DIR: service.dataDirectory })
  const names = async () => (await readdir(service.dataDirectory)).sort()
  const before = await names()
  const { bad, of } = await look()
  // The tests' own BCRYPT_COST.
  expect(bad).toEqual(['BCRYPT_COST warning'])
  expect(of('port')[0]?.detail).toBe(`a service answers at ${api.baseUrl}/readyz: ready`)
  expect(of('notifier')[0]?.detail).toMatch(/^task-notifier at .* takes invocations \(DryRun/)
  expect(of('schema')[0]?.detail).toMatch(new RegExp(`^version ${schemaVersion},`))
  expect(of('database version')[0]?.detail).toMatch(/^Postgres 17/)
  expect(of('webhook')[0]?.detail).toMatch(/nothing was posted$/)
  expect(service.webhook.received).toEqual([])
  expect(await names()).toEqual(before)

  // Keys that it does not know, and a secret that others can read.
  const path = join(service.dataDirectory, 'notifier-credentials')
  const keys = await readFile(path, 'utf8')
  await writeFile(path, keys.replace(/(secret_access_key=).*/, '$1other'))
  await chmod(join(service.dataDirectory, 'jwt-secret'), 0o644)
  const worse = await look()
  expect(worse.of('notifier')[0]).toMatchObject({ status: 'failed', detail: expect.stringContaining('403') })
  expect(worse.of('jwt-secret')[0]).toMatchObject({
    status: 'failed',
    advice: expect.stringContaining('chmod 600'),
  })
})

test('every bad setting is a line, secrets unseen, and the rest is looked at all the same', async () => {
  const { of, bad, findings } = await doctor({
    ...external(),
    PORT: '65536',
    RATE_LIMIT_USER: 'many',
    NOTIFY_WEBHOOK_URL: 'ftp://hunter2.example.com',
    RATE_LIMIT_USERS: '100/60s',
  })
  expect(bad.sort()).toEqual(
    ['PORT failed', 'RATE_LIMIT_USER failed', 'NOTIFY_WEBHOOK_URL failed', 'RATE_LIMIT_USERS warning'].sort(),
  )
  expect(of('PORT')[0]).toEqual({
    name: 'PORT',
    status: 'failed',
    detail: '"65536" is not usable',
    advice: 'give a whole number from 0 to 65535',
  })
  expect(of('database')[0]?.detail).toMatch(/^answers in [\d.]+ ms$/)
  expect(of('port')).toEqual([])
  expect(JSON.stringify(findings)).not.toContain('hunter2')
})

test('settings that do not go together', async () => {
  const { of } = await doctor({ NOTIFIER_ENDPOINT: 'http://127.0.0.1:1', AWS_ACCESS_KEY_ID: 'one' })
  expect(of('AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY')[0]).toMatchObject({
    status: 'failed',
    detail: 'one of them is missing',
  })
  expect((await doctor({ WEB_CONCURRENCY: '4' })).bad).toEqual(['WEB_CONCURRENCY failed'])
  expect((await doctor({ DATABASE_URL: server.url() })).bad).toEqual(['JWT_SECRET failed'])
  expect((await doctor({ HOST: '0.0.0.0' })).bad).toEqual(['JWT_SECRET failed'])
  expect((await doctor({ ...external(), JWT_SECRET: 'a'.repeat(40) })).bad).toEqual(['JWT_SECRET warning'])
})

test('a database that is away, refuses, lacks migrations or is newer', async () => {
  const away = await doctor(external('postgres://tasks:hunter2@127.0.0.1:1/tasks'))
  expect(away.of('database')[0]).toMatchObject({
    status: 'failed',
    detail: expect.stringContaining('ECONNREFUSED'),
  })
  expect(JSON.stringify(away.findings)).not.toContain('hunter2')

  const wrong = new URL(server.url())
  wrong.password = 'hunter2'
  const refused = await doctor(external(wrong.href))
  expect(refused.bad).toEqual(['database failed'])
  expect(JSON.stringify(refused.findings)).not.toContain('hunter2')

  const name = await server.createDatabase()
  const empty = await doctor(external(server.url(name)))
  expect(empty.of('schema')[0]).toMatchObject({ status: 'failed', advice: 'npm run migrate' })
  await migrateDatabase(server.url(name))
  expect((await doctor(external(server.url(name)))).bad).toEqual([])
  await server.sql(name)`insert into schema_migrations values (${schemaVersion + 1}, '1000_later.sql', '')`
  expect((await doctor(external(server.url(name)))).of('schema')[0]).toMatchObject({
    status: 'warning',
    detail: "at 1000_later.sql, newer than this program's",
  })
  await server.sql(name)`update schema_migrations set oldest_program = version where name = '1000_later.sql'`
  expect((await doctor(external(server.url(name)))).of('schema')[0]).toMatchObject({
    status: 'failed',
    detail: expect.stringContaining('run a newer program'),
  })
})

test('roles with too many rights and with too few, a read-only session, too large a pool', async () => {
  const password = (await readFile(join(server.dataDirectory, 'postgres-superuser-password'), 'utf8')).trim()
  const url = new URL(server.url())
  Object.assign(url, { username: 'postgres', password })
  expect((await doctor(external(url.href))).of('role')).toMatchObject([
    { status: 'warning', detail: expect.stringContaining('is a superuser') },
  ])
  const admin = postgres(url.href, { max: 1 })
  await admin`create role reader login password 'reader'`
  await admin`grant select on all tables in schema public to reader`
  const reader = new URL(server.url())
  Object.assign(reader, { username: 'reader', password: 'reader' })
  expect((await doctor(external(reader.href))).of('role')).toMatchObject([{ status: 'failed' }])
  await admin`grant insert, update, delete on all tables in schema public to reader`
  expect((await doctor(external(reader.href))).of('role')).toMatchObject([
    { status: 'warning', detail: expect.stringContaining('may not create tables') },
  ])
  await admin`alter role reader set default_transaction_read_only = on`
  expect((await doctor(external(reader.href))).of('database')).toMatchObject([
    { status: 'failed', detail: expect.stringContaining('takes no writes') },
  ])
  await admin.end()
  expect((await doctor({ ...external(), DATABASE_POOL: '1000' })).bad).toEqual(['connections warning'])
})

test('the way to a database: what its URL says for nothing, prepared statements, TLS', async () => {
  const url = `${server.url()}?sslmode=prefer&target_session_attrs=any`
  const { bad, of } = await doctor(external(url))
  expect(bad).toEqual(['DATABASE_URL warning'])
  expect(of('prepared statements')[0]?.detail).toBe('are kept')
  expect(of('database TLS')[0]?.detail).toBe('none, and nobody is on the way')
  const off = await doctor({ ...external(), DATABASE_PREPARE: 'off' })
  expect(off.of('prepared statements')[0]?.detail).toMatch(/^off/)
  // The server has no certificate.
  const strict = await doctor(external(`${server.url()}?sslmode=verify-full`))
  expect(strict.bad).toEqual(['database failed'])
})

test('a standby, and a pooler that keeps no prepared statements', async ({ onTestFinished, skip }) => {
  const cluster = await startPostgresCluster()
  onTestFinished(() => cluster.remove())
  await migrateDatabase(cluster.url())
  expect((await doctor(external(cluster.url()))).bad).toEqual([])
  const standby = await cluster.makeStandby()
  expect((await doctor(external(standby.url()))).of('database')[0]).toMatchObject({
    status: 'failed',
    detail: expect.stringContaining('standby'),
  })
  if (!hasPgBouncer) return skip('there is no pgbouncer')
  const pooler = await startPgBouncer(cluster)
  onTestFinished(() => pooler.stop())
  const behind = await doctor(external(pooler.url()))
  expect(behind.bad).toEqual(['prepared statements failed'])
  expect(behind.of('prepared statements')[0]?.advice).toBe('set DATABASE_PREPARE=off')
  expect((await doctor({ ...external(pooler.url()), DATABASE_PREPARE: 'off' })).bad).toEqual([])
})

test('a database that cannot hold every text', async () => {
  const sql = server.sql(undefined, { max: 1 })
  await sql`create database latin encoding 'LATIN1' template template0 locale_provider libc locale 'C'`
  const { of } = await doctor(external(server.url('latin')))
  expect(of('encoding')[0]).toMatchObject({ status: 'failed', detail: 'LATIN1 cannot hold every text' })
})

test('data directories of all kinds', async () => {
  const file = join(directory, 'file')
  await writeFile(file, '')
  expect((await doctor({ DATA_DIR: file })).of('data directory')[0]).toMatchObject({
    status: 'failed',
    detail: `${file} is not a directory`,
  })
  const data = join(directory, 'data')
  await mkdir(data)
  for (const [mode, status] of [
    [0o700, 'ok'],
    [0o711, 'ok'],
    [0o755, 'warning'],
    [0o777, 'failed'],
  ] as const) {
    await chmod(data, mode)
    expect({ mode, ...(await doctor({ DATA_DIR: data })).of('data directory')[0] }).toMatchObject({
      mode,
      status,
    })
  }
  expect((await stat(data)).mode & 0o777).toBe(0o777)
  await writeFile(join(data, 'jwt-secret'), 'short', { mode: 0o600 })
  expect((await doctor({ DATA_DIR: data })).of('jwt-secret')[0]?.detail).toContain('is damaged')
  const away = {
    NOTIFIER_ENDPOINT: `http://127.0.0.1:${await findFreePort()}`,
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
  }
  const { of } = await doctor({ ...external(), ...away, DATA_DIR: file })
  expect(of('data directory')[0]).toMatchObject({ status: 'ok' })
  expect(of('notifier')[0]).toMatchObject({
    status: 'failed',
    detail: expect.stringContaining('ECONNREFUSED'),
  })
})

test('ports that others have', async ({ onTestFinished }) => {
  const silent = createServer((socket) => socket.end())
  const web = createHttpServer((_, response) => response.end('<html>'))
  onTestFinished(() => {
    silent.close()
    web.close()
  })
  const PORT = String(await listenOnLoopback(web))
  const NOTIFIER_PORT = String(await listenOnLoopback(silent))
  const { bad, of } = await doctor({ PORT, NOTIFIER_PORT })
  expect(bad).toEqual(['notifier failed', 'port failed'])
  expect(of('port')[0]).toMatchObject({ detail: `${PORT} on 127.0.0.1 is taken by another program` })
  // An address for documentation: no machine has it.
  expect((await doctor({ ...external(), HOST: '192.0.2.1' })).of('port')[0]).toMatchObject({
    status: 'failed',
    advice: expect.stringContaining('127.0.0.1'),
  })
})

test('webhooks and mail servers: looked up, logged in to, and told nothing', async ({ onTestFinished }) => {
  const receiver = await startWebhookReceiver()
  const smtp = await startSmtpServer({ password: 'hunter2' })
  onTestFinished(async () => {
    await receiver.close()
    await smtp.close()
  })
  const mail = (password: string) => ({
    NOTIFY_EMAIL_TO: 'ops@example.com',
    SMTP_URL: `smtp://tasks:${password}@127.0.0.1:${smtp.port}`,
  })
  const well = await doctor({ NOTIFY_WEBHOOK_URL: receiver.url, ...mail('hunter2') })
  expect(well.bad).toEqual([])
  const worse = await doctor({ NOTIFY_WEBHOOK_URL: 'https://hooks.invalid/secret-path', ...mail('hunter3') })
  expect(worse.bad).toEqual(['webhook failed', 'smtp failed'])
  expect(JSON.stringify(worse.findings)).not.toMatch(/secret-path|hunter/)
  expect({ posted: receiver.received, mails: smtp.mails }).toEqual({ posted: [], mails: [] })
  const gone = { NOTIFY_EMAIL_TO: 'ops@example.com', SMTP_URL: 'smtp://127.0.0.1:1' }
  expect((await doctor(gone)).of('smtp')[0]?.detail).toMatch(/ECONNREFUSED/)
})

test('metrics, the notifier’s own queue, and where it tells of what it gives up', async (context) => {
  const METRICS_PORT = String(await findFreePort())
  const queue = {
    NOTIFIER_DATABASE_URL: server.url(),
    NOTIFIER_ON_FAILURE: join(directory, 'new/failed.jsonl'),
  }
  const before = await doctor({ METRICS_PORT, ...queue })
  expect(before.bad).toEqual([])
  expect(before.of('metrics')[0]?.detail).toBe(`${METRICS_PORT} on 127.0.0.1 is free`)
  expect(before.of('notifier database')[0]?.detail).toBe('has the queue of Events')
  await (await createService(context, { METRICS_PORT })).start()
  expect((await doctor({ METRICS_PORT })).of('metrics')[0]?.detail).toMatch(/^are at http/)

  const worse = await doctor({
    NOTIFIER_DATABASE_URL: server.url(await server.createDatabase()),
    NOTIFIER_ON_FAILURE: '/dev/null/failed.jsonl',
  })
  expect(worse.bad).toEqual(['notifier database failed', 'on-failure destination failed'])
  const away = await doctor({ NOTIFIER_ON_FAILURE: 'https://failed.invalid/hunter2' })
  expect(away.bad).toEqual(['on-failure destination failed'])
  expect(JSON.stringify(away.findings)).not.toContain('hunter2')
})

test('for a person: a line each, what to do below it, the sum at the end', async () => {
  const environment = {
    PORT: '70000',
    DATA_DIR: join(directory, 'none'),
    NOTIFIER_PORT: String(await findFreePort()),
  }
  const { code, stdout, stderr } = await runBuilt('doctor', [], { environment })
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
  expect(stdout).toMatch(/^failed +PORT +"70000" is not usable\n +-> give a whole number from 0 to 65535\n/)
  expect(stdout).toMatch(/\n\n\d+ ok, 0 warnings, 1 failed\n$/)
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
