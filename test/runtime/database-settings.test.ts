/** With unusual settings of a database or role the service works, or says at its start why it cannot. */
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { problemFaults } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { hasPgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import { type PostgresCluster, startPostgresCluster } from '../support/postgres-cluster.ts'
import { migrateDatabase, startApi } from '../support/processes.ts'
import { createDatabase, createSettableService } from '../support/settable-service.ts'

const patience = { timeout: 60_000, interval: 20 }

let server: PostgresCluster
beforeAll(async () => {
  server = await startPostgresCluster()
})
afterAll(() => server?.remove())

/** Times of now in the promised format. */
function expectNow(times: unknown[]) {
  for (const time of times) {
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(Math.abs(Date.parse(String(time)) - Date.now())).toBeLessThan(300_000)
  }
}

const ways = [
  { name: 'directly', front: async () => undefined },
  ...(hasPgBouncer ? [{ name: 'behind PgBouncer', front: startPgBouncer }] : []),
]

describe.each(ways)('reached $name', ({ front: startFront }) => {
  let pooler: Awaited<ReturnType<typeof startPgBouncer>> | undefined
  let options: Parameters<typeof createSettableService>[1]
  beforeAll(async () => {
    pooler = await startFront(server)
    options = { server, ...(pooler ? { front: pooler, environment: { DATABASE_PREPARE: 'off' } } : {}) }
  })
  afterAll(() => pooler?.stop())

  test('times are right with any datestyle, timezone and precision', async (context) => {
    const { database, request, register, createTask } = await createSettableService(context, options)
    const { token, refreshToken } = await register()
    for (const [datestyle, timezone, intervalstyle] of [
      ['SQL, DMY', 'Pacific/Chatham', 'sql_standard'],
      ['German', 'America/St_Johns', 'iso_8601'],
      ['Postgres, MDY', 'Asia/Kolkata', 'postgres_verbose'],
      ['ISO, YMD', 'Africa/Monrovia', 'postgres'],
    ] as const) {
      await database.set({
        datestyle,
        timezone,
        intervalstyle,
        extra_float_digits: '-15',
        bytea_output: 'escape',
        standard_conforming_strings: 'off',
      })
      const task = await createTask(token, { status: 'completed' })
      const { body: list } = await request('GET', '/api/tasks/?limit=1', { token })
      const { body: keyed } = await request('POST', '/api/tasks/', {
        token,
        json: { title: datestyle },
        headers: { 'Idempotency-Key': datestyle.replace(/\W/g, '') },
      })
      const { body: sessions } = await request('GET', '/api/sessions/', { token })
      const { body: me } = await request('GET', '/api/users/me/', { token })
      expect(list.results).toEqual([task])
      expectNow([task.created_at, task.updated_at, task.completed_at, keyed.created_at, me.created_at])
      expectNow([sessions.results[0].created_at, sessions.results[0].last_used_at])
      expect(Date.parse(sessions.results[0].expires_at)).toBeGreaterThan(Date.now() + 29 * 86_400_000)
      const after = `/api/tasks/?created_after=${task.created_at}&ordering=created_at&limit=1`
      const { body: first } = await request('GET', after, { token })
      expect(first.results).toEqual([task])
      const { body: second } = await request('GET', first.next, { token })
      expect(second.results).toEqual([keyed])
    }
    expect(
      (await request('POST', '/api/token/refresh/', { json: { refresh_token: refreshToken } })).status,
    ).toBe(200)
  })

  test.for(['serializable', 'repeatable read'])(
    'concurrent writes all succeed with a default isolation of %s',
    async (isolation, context) => {
      const { database, request, register, createTask } = await createSettableService(context, options)
      const { token } = await register()
      const task = await createTask(token)
      await database.set({ default_transaction_isolation: isolation, default_transaction_deferrable: 'on' })
      const together = (act: (i: number) => ReturnType<typeof request>) =>
        Promise.all(Array.from({ length: 20 }, (_, i) => act(i)))
      const changed = await together((i) =>
        request('PATCH', `/api/tasks/${task.id}/`, { token, json: { title: `Title ${i}` } }),
      )
      expect(new Set(changed.map(({ status }) => status))).toEqual(new Set([200]))
      const created = await together(() =>
        request('POST', '/api/tasks/', {
          token,
          json: { title: 'Keyed' },
          headers: { 'Idempotency-Key': 'one' },
        }),
      )
      expect(new Set(created.map(({ status, body }) => `${status} ${body.id}`)).size).toBe(1)
      expect(created[0]?.status).toBe(201)
      const [{ version } = {}] = await database.query<{ version: number }>(
        `select version from tasks where id = ${task.id}`,
      )
      expect(version).toBe(21)
    },
  )
})

/** Another client's transaction, which holds its locks until it is ended. */
async function lock(database: Awaited<ReturnType<typeof createDatabase>>, statement: string) {
  const sql = postgres(database.url, { max: 1, onnotice: () => {} })
  await sql.unsafe('begin')
  await sql.unsafe(statement)
  return async () => {
    await sql.unsafe('rollback')
    await sql.end()
  }
}

describe('a lock_timeout of the database', () => {
  test('causes no 409: a change waits for the lock as it would without', async (context) => {
    const { database, request, register, createTask } = await createSettableService(context, { server })
    const [owner, other] = [await register(), await register()]
    const task = await createTask(owner.token)
    await database.set({ lock_timeout: '20ms' })
    const release = await lock(
      database,
      `select from tasks where id = ${task.id} for update;
      select from users where id = ${other.id} for update`,
    )
    const answers = [
      request('PATCH', `/api/tasks/${task.id}/`, { token: owner.token, json: { title: 'New' } }),
      request('POST', '/api/tasks/', { token: owner.token, json: { title: 'T', assigned_to: other.id } }),
    ]
    await vi.waitFor(async () => {
      const [{ waiting } = {}] = await database.query<{ waiting: number }>(
        `select count(*)::int waiting from pg_stat_activity
          where datname = '${database.name}' and wait_event_type = 'Lock'
            and xact_start < now() - interval '100 ms'`,
      )
      expect(waiting).toBe(2)
    }, patience)
    await release()
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 201])
  })

  test('causes a 409 only for requests that wait for an Idempotency-Key', async (context) => {
    const { database, request, register } = await createSettableService(context, { server })
    const [owner, other] = [await register(), await register()]
    await database.set({ lock_timeout: '20ms' })
    const release = await lock(
      database,
      `insert into idempotency_keys values (${owner.id}, 'taken', 'hash', 1, '{}', now());
      select from users where id = ${other.id} for update`,
    )
    const create = (key: string, assigned_to: number | null) =>
      request('POST', '/api/tasks/', {
        token: owner.token,
        json: { title: 'T', assigned_to },
        headers: { 'Idempotency-Key': key },
      })
    const [taken, locked] = await Promise.all([create('taken', null), create('free', other.id)])
    expect({ status: taken.status, faults: problemFaults(taken) }).toEqual({ status: 409, faults: [] })
    expect({ status: locked.status, faults: problemFaults(locked) }).toEqual({ status: 503, faults: [] })
    await release()
    expect((await create('free', other.id)).status).toBe(201)
  })
})

describe('settings that make every answer wrong', () => {
  const hopeless = [
    ['session_replication_role', 'replica', 'no trigger'],
    ['exit_on_error', 'on', 'ends its connection'],
  ] as const
  const environmentOf = (url: string) => ({
    DATABASE_URL: url,
    JWT_SECRET: 'a secret that only the tests know: 32 bytes and more',
  })

  test.for(hopeless)(
    '%s stops the start with one line, and doctor reports it',
    async ([name, value, why]) => {
      const database = await createDatabase({ server })
      await migrateDatabase(database.url)
      await database.set({ [name]: value })
      const environment = environmentOf(database.url)
      const { code, stdout, stderr } = await runBuilt('api', [], {
        environment: { ...environment, PORT: '0' },
      })
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toMatch(new RegExp(`^DATABASE_URL: ${name} is ${value}: .*${why}.*; reset it .*\\n$`))
      const report = JSON.parse((await runBuilt('doctor', ['--json'], { environment })).stdout)
      const finding = report.findings.find((one: { name: string }) => one.name === 'database')
      expect(finding).toMatchObject({
        status: 'failed',
        detail: expect.stringContaining(`${name} is ${value}`),
      })
    },
  )

  test('session_replication_role, set while the service runs, makes /readyz fail', async (context) => {
    const { database, request, api } = await createSettableService(context, { server })
    await database.set({ session_replication_role: 'replica' })
    await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(503), patience)
    const line = await api.line(({ message }) => message === 'not ready: database')
    expect(line.error).toContain('session_replication_role')
    await database.set({ session_replication_role: 'origin' })
    await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
  })

  test('the start and doctor name settings that cost something', async (context) => {
    const database = await createDatabase({ server })
    await migrateDatabase(database.url)
    await database.set({
      default_transaction_isolation: 'serializable',
      synchronous_commit: 'off',
      statement_timeout: '1s',
    })
    const environment = environmentOf(database.url)
    const api = await startApi({ environment })
    context.onTestFinished(async () => void (await api.stop()))
    const warnings = api.lines.filter(({ level }) => level === 'warn').map(({ message }) => String(message))
    const report = JSON.parse((await runBuilt('doctor', ['--json'], { environment })).stdout)
    for (const name of ['default_transaction_isolation', 'synchronous_commit', 'statement_timeout']) {
      expect(warnings.filter((message) => message.includes(name))).toHaveLength(1)
      const finding = report.findings.find(({ detail }: { detail: string }) => detail.includes(`${name} is`))
      expect(finding).toMatchObject({ status: 'warning' })
    }
  })
})

test('a database that is read-only by default: reads work, writes give the reason', async (context) => {
  const { database, request, register, createTask, api } = await createSettableService(context, { server })
  const { token } = await register()
  const task = await createTask(token)
  await database.set({ default_transaction_read_only: 'on' })
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(503), patience)
  expect((await request('GET', `/api/tasks/${task.id}/`, { token })).body).toEqual(task)
  const refused = await request('POST', '/api/tasks/', { token, json: { title: 'T' } })
  expect({ status: refused.status, faults: problemFaults(refused) }).toEqual({ status: 503, faults: [] })
  expect(refused.body.detail).toBe('The database is read-only at the moment.')
  expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(1)
  const line = await api.line(({ message }) => message === 'the database could not be used')
  expect(line).toMatchObject({ error: 'the database takes no writes', code: '25006' })
  await database.set({ default_transaction_read_only: 'off' })
  await vi.waitFor(async () => expect((await request('GET', '/readyz')).status).toBe(200), patience)
  await createTask(token)
})
