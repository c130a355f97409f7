/** A database that cannot be used: clients get the reason in general words, the log names the cause. */
import { execFileSync } from 'node:child_process'
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, type TestContext, test, vi } from 'vitest'
import { findServerUser } from '../../src/runtime/embedded-postgres/user.ts'
import { type Answer, createClient, problemFaults } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { type PostgresCluster, startPostgresCluster } from '../support/postgres-cluster.ts'
import { migrateDatabase, startApi, startProgram } from '../support/processes.ts'
import { createDatabase, createSettableService } from '../support/settable-service.ts'

const patience = { timeout: 60_000, interval: 50 }
const secret = { JWT_SECRET: 'a secret that only the tests know: 32 bytes and more' }

let server: PostgresCluster
beforeAll(async () => {
  server = await startPostgresCluster()
})
afterAll(() => server?.remove())

/** The answer must not show SQL, hosts or paths. */
function expectRefusal(answer: Answer, detail: string, leastRetryAfter: number) {
  expect({ status: answer.status, faults: problemFaults(answer) }).toEqual({ status: 503, faults: [] })
  expect(answer.body).toMatchObject({ detail, title: 'Service Unavailable' })
  expect(Number(answer.headers.get('Retry-After'))).toBeGreaterThanOrEqual(leastRetryAfter)
  expect(JSON.stringify(answer.body)).not.toMatch(/127\.0\.0\.1|insert|tasks_|\/tmp|base\//)
}

const couldNot = 'the database could not be used'

test('a stopped server is "away"; the log has its address', async (context) => {
  const own = await startPostgresCluster()
  context.onTestFinished(() => own.remove())
  const { request, register, api } = await createSettableService(context, { server: own })
  const { token } = await register()
  await own.stop()
  expectRefusal(await request('GET', '/api/tasks/', { token }), 'The database is away at the moment.', 1)
  expect((await request('GET', '/readyz')).status).toBe(503)
  const line = await api.line(({ message }) => message === couldNot)
  expect(line).toMatchObject({ error: 'the database is away', code: 'ECONNREFUSED' })
  expect(line.cause).toContain(`127.0.0.1:${own.port}`)
  // The relay asks repeatedly and logs once.
  await vi.waitFor(() => expect(api.lines.filter(isOfRelay)).toHaveLength(1), patience)
  const asked = Date.now()
  await vi.waitFor(() => expect(Date.now() - asked).toBeGreaterThan(3000), patience)
  expect(api.lines.filter(isOfRelay)).toHaveLength(1)
  expect(api.lines.filter(({ stack }) => stack !== undefined)).toEqual([])
  await own.start()
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
})

const isOfRelay = ({ message }: { message?: string }) => message === 'the outbox could not be read'

test('too many connections, and a password that was changed', async (context) => {
  const { database, request, register, api } = await createSettableService(context, { server })
  const { token } = await register()
  const end = () =>
    server.query(
      `select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '${database.name}'`,
    )
  await server.query(`alter database ${database.name} connection limit 0`)
  await end()
  const crowded = await request('GET', '/api/tasks/', { token })
  expectRefusal(crowded, 'The database takes no more connections at the moment.', 1)
  expect((await request('GET', '/readyz')).status).toBe(503)
  expect(await api.line(({ code }) => code === '53300')).toMatchObject({
    cause: expect.stringContaining('too many connections'),
  })
  await server.query(`alter database ${database.name} connection limit -1`)
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)

  await server.query(`alter role tasks connection limit -1 password 'another'`)
  context.onTestFinished(async () => {
    await server.query(`alter role tasks password 'the role has this password'`)
  })
  await end()
  const refused = await request('GET', '/api/tasks/', { token })
  expectRefusal(refused, 'The database does not let this service in.', 10)
  expect(await api.line(({ code }) => code === '28P01')).toMatchObject({
    error: 'the database refuses this service',
  })
})

test('a hot standby: reads work, writes and /readyz give the reason', async (context) => {
  const own = await startPostgresCluster()
  context.onTestFinished(() => own.remove())
  await migrateDatabase(own.url())
  const writer = await startApi({ environment: { DATABASE_URL: own.url(), ...secret, BCRYPT_COST: '4' } })
  const { token } = await createClient(writer).register()
  context.onTestFinished(async () => void (await writer.stop()))
  await createClient(writer).createTask(token, { title: 'Before' })
  const standby = await own.makeStandby()
  const api = await startApi({
    environment: { DATABASE_URL: standby.url(), ...secret, RATE_LIMIT_ANONYMOUS: '1000000/60s' },
  })
  context.onTestFinished(async () => void (await api.stop()))
  const { request } = createClient(api)
  expect(api.lines.filter(({ message }) => String(message).includes('in_hot_standby is on'))).toHaveLength(1)
  expect((await request('GET', '/api/tasks/', { token })).body.results).toMatchObject([{ title: 'Before' }])
  expectRefusal(
    await request('POST', '/api/tasks/', { token, json: { title: 'T' } }),
    'The database is read-only at the moment.',
    2,
  )
  const readiness = await request('GET', '/readyz')
  expect({ status: readiness.status, body: readiness.body }).toEqual({
    status: 503,
    body: { status: 'unavailable', unavailable: ['database'] },
  })
  // It lags: a log-in at the primary is not known here yet.
  await standby.query('select pg_wal_replay_pause()')
  const late = await vi.waitFor(() => createClient(writer).register(), patience)
  expect((await request('GET', '/api/tasks/', { token: late.token })).status).toBe(401)
  await standby.query('select pg_wal_replay_resume()')

  await standby.query('select pg_promote()')
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
  await createClient(api).createTask(token)
})

/** Undefined if this user may not mount. */
async function mountSmallDisk({ onTestFinished }: Pick<TestContext, 'onTestFinished'>, megabytes: number) {
  const directory = await temporaryDirectory()
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], {
      stdio: 'ignore',
    })
  } catch {
    return undefined
  }
  onTestFinished(() => void execFileSync('umount', ['--lazy', directory]))
  const user = await findServerUser(undefined)
  const space = join(directory, 'space')
  await mkdir(space)
  if (user) await chown(space, user.uid, user.gid)
  await chmod(directory, 0o755)
  const filler = join(directory, 'filler')
  return {
    space,
    fill: () => writeFile(filler, Buffer.alloc(megabytes * 1024 * 1024)).catch(() => {}),
    empty: () => rm(filler),
  }
}

test('a full disk: writes give the reason, /readyz fails until there is room again', async (context) => {
  const disk = await mountSmallDisk(context, 64)
  if (!disk) return context.skip('nothing can be mounted here')
  const own = await startPostgresCluster()
  context.onTestFinished(() => own.remove())
  await own.query(`create tablespace small location '${disk.space}'`)
  const { request, register, createTask, api } = await createSettableService(context, {
    server: own,
    with: 'tablespace small',
  })
  const { token } = await register()
  const task = await createTask(token)
  await disk.fill()
  const json = { title: 'T', description: 'long '.repeat(2000) }
  const write = () => request('POST', '/api/tasks/', { token, json })
  await vi.waitFor(async () => expect((await write()).status).toBe(503), patience)
  expectRefusal(await write(), 'The database has no room left on its disk.', 30)
  expect((await request('GET', `/api/tasks/${task.id}/`, { token })).body).toEqual(task)
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(503), patience)
  const line = await api.line(({ message }) => message === couldNot)
  expect(line).toMatchObject({ error: 'the database has no room left on its disk', code: '53100' })
  expect(line.cause).toContain('No space left on device')
  await disk.empty()
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
  expect((await write()).status).toBe(201)
})

test('the embedded server reports a /dev/shm that is too small', async ({ onTestFinished, skip }) => {
  const dataDirectory = await temporaryDirectory()
  onTestFinished(() => rm(dataDirectory, { recursive: true, force: true }))
  const inside = `mount --make-rprivate / && mount -t tmpfs -o size=4k tmpfs /dev/shm && exec "$0" "$1"`
  try {
    execFileSync('unshare', ['-m', 'sh', '-c', inside, 'true', ''], { stdio: 'ignore' })
  } catch {
    return skip('nothing can be mounted here')
  }
  const program = startProgram(
    ['unshare', '-m', 'sh', '-c', inside, process.execPath, join(root, 'dist/api.js')],
    { environment: { PORT: '0', NOTIFIER_PORT: String(await findFreePort()), DATA_DIR: dataDirectory } },
  )
  await new Promise((resolve) => program.child.once('close', resolve))
  expect(program.lines.map(({ text }) => text)).toEqual([
    expect.stringMatching(/No space left on device.*; \/dev\/shm is too small: give a larger one/),
  ])
})

describe('a database without the tables', () => {
  const environmentOf = async (url: string) => ({
    DATABASE_URL: url,
    ...secret,
    NOTIFIER_DATABASE_URL: url,
    NOTIFIER_PORT: String(await findFreePort()),
  })

  test('the start says once what to do, and needs no restart afterwards', async ({ onTestFinished }) => {
    const database = await createDatabase({ server })
    const environment = await environmentOf(database.url)
    const api = await startApi({ environment })
    onTestFinished(async () => void (await api.stop()))
    const { request, register } = createClient(api)
    expect((await request('GET', '/readyz')).body).toEqual({
      status: 'unavailable',
      unavailable: ['migrations'],
    })
    const json = { username: 'somebody', password: 'correct horse' }
    expectRefusal(
      await request('POST', '/api/register/', { json }),
      'The database is not prepared for this version yet.',
      10,
    )
    const begun = Date.now()
    await vi.waitFor(() => expect(Date.now() - begun).toBeGreaterThan(3000), patience)
    const own = api.lines.filter(({ message }) => message !== 'request')
    const warned = own.filter(({ level }) => level === 'warn' || level === 'error')
    expect(warned.map(({ message }) => message).sort()).toEqual([
      'not ready: migrations',
      couldNot,
      'the event queue cannot be read',
      'the schema is older than the program: run npm run migrate',
    ])
    expect(JSON.stringify(own)).not.toContain('"stack"')

    const notifier = await runBuilt('notifier-inspect', ['events'], {
      environment: { NOTIFIER_PORT: environment.NOTIFIER_PORT, DATA_DIR: api.dataDirectory },
    })
    expect(notifier).toMatchObject({ code: 1, stderr: expect.stringMatching(/^.*npm run migrate.*\n$/) })

    await migrateDatabase(database.url)
    await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
    await register()
  })

  test.for([
    ['users', 'list'],
    ['users', 'disable', 'somebody'],
    ['outbox', 'status'],
    ['outbox', 'drop', '--all-dead', '--yes'],
    ['migrate', 'status'],
  ])('npm run %s -- %s ends with one line that says what to do', async ([command = '', ...args]) => {
    const database = await createDatabase({ server })
    const environment = await environmentOf(database.url)
    const { code, stderr } = await runBuilt(command, args, { environment })
    expect(code).toBe(1)
    expect(stderr).toMatch(/^[^\n]*npm run migrate[^\n]*\n$/)
  })
})

test('a start without its Redis warns and goes on', async (context) => {
  const environment = { REDIS_URL: 'redis://:hunter2@127.0.0.1:1' }
  const { request, register, api } = await createSettableService(context, { server, environment })
  const told = api.lines.filter(({ message }) => message?.startsWith('REDIS_URL: no Redis answers'))
  expect(told).toMatchObject([{ level: 'warn', cause: 'connect ECONNREFUSED 127.0.0.1:1' }])
  expect(told[0]?.message).toContain('127.0.0.1:1')
  await register()
  const lost = await api.line(({ message }) => Boolean(message?.startsWith('the store is lost')))
  expect(lost).toMatchObject({ code: 'ECONNREFUSED', cause: 'connect ECONNREFUSED 127.0.0.1:1' })
  expect((await request('GET', '/readyz')).body).toEqual({ status: 'degraded', degraded: ['cache'] })
  expect(JSON.stringify(api.lines)).not.toContain('hunter2')
})
