/** `npm run users` beside a running service, and its effects on clients. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { runBuilt } from '../support/commands.ts'
import { root } from '../support/directories.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import {
  type ApiProcess,
  createService,
  endProcess,
  migrateDatabase,
  startApi,
} from '../support/processes.ts'
import { until } from './fixtures/embedded-postgres.ts'

let server: TestPostgres
let environment: Record<string, string>
let api: ApiProcess

beforeAll(async () => {
  server = await startTestPostgres()
  environment = {
    DATABASE_URL: server.url(),
    JWT_SECRET: 'a secret that only the tests know: 32 bytes and more',
    BCRYPT_COST: '4',
    REGISTRATION: 'closed',
    RATE_LIMIT_ANONYMOUS: '100000/60s',
  }
  await migrateDatabase(environment.DATABASE_URL ?? '')
  api = await startApi({ environment })
})
afterAll(async () => {
  await api?.stop()
  await server?.stop()
})

const users = (args: string[], input = '') => runBuilt('users', args, { environment, input })
const client = () => createClient(api)
const logInStatus = async (username: string, password: string) =>
  client().request('POST', '/api/token/', { json: { username, password } })

async function createUser(password = 'correct horse') {
  const username = newName('ann')
  expect(await users(['create', username], `${password}\n`)).toMatchObject({ code: 0 })
  return { username, password, ...(await client().logIn(username, password)) }
}

/** The statuses that the API answers to the tokens of a session. */
async function statusesOf({ token, refreshToken }: { token: string; refreshToken: string }) {
  const me = await client().request('GET', '/api/users/me/', { token })
  const json = { refresh_token: refreshToken }
  const refreshed = await client().request('POST', '/api/token/refresh/', { json })
  return [me.status, refreshed.status]
}

describe('create', () => {
  test('works where registration is closed, and reads the password from standard input', async () => {
    const username = newName('Ann')
    const created = await users(
      ['create', username, '--email', 'ann@example.com', '--json'],
      'pass word with spaces ',
    )
    expect(created).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(created.stdout)).toEqual({
      id: expect.any(Number),
      username,
      email: 'ann@example.com',
      created_at: expect.stringMatching(/Z$/),
    })
    await client().logIn(username.toLowerCase(), 'pass\u00a0word with spaces ')
    const json = { username: newName(), password: 'correct horse' }
    expect((await client().request('POST', '/api/register/', { json })).status).toBe(403)
    expect(await users(['create', username.toUpperCase()], 'correct horse')).toEqual({
      code: 1,
      stdout: '',
      stderr: 'The username is taken. It is taken; case does not matter.\n',
    })
  })

  test('asks for the password twice at a terminal, without echo', async () => {
    const username = newName()
    const typed = await atTerminal(['create', username], ['correct horse', 'correct horse'])
    expect(typed).toMatchObject({ code: 0, output: expect.stringContaining(`created ${username}`) })
    expect(typed.output).not.toContain('correct')
    await client().logIn(username, 'correct horse')

    const differing = await atTerminal(['create', newName()], ['correct horse', 'correct house'])
    expect(differing.code).toBe(1)
    expect(differing.output).toContain('the two passwords differ: nothing was changed')
    const interrupted = await atTerminal(['create', newName()], ['\u0003'])
    expect(interrupted.code).toBe(1)
    expect(interrupted.output).toContain('no password was given: nothing was changed')
  })

  test.each<[string[], string, RegExp]>([
    [['create', 'no spaces'], 'correct horse', /^username: It may have ASCII letters/],
    [['create', 'x'.repeat(151)], 'correct horse', /^username: /],
    [['create', 'ann', '--email', 'none'], 'correct horse', /^email: It must be an e-mail address/],
    [['create', 'ann'], 'short', /^password: /],
    [['create', 'ann'], 'é'.repeat(40), /^password: It must have at most 72 bytes/],
    [['create', 'ann'], 'Password1', /^password: It is one of the most common passwords/],
    [['create', 'ann.smith'], 'Ann.Smith', /^password: It must not be the username/],
    [['create', 'ann'], 'nul\0 within it', /^password: /],
    [['create', 'ann'], '', /^no password: /],
    [['create', 'ann'], 'two lines\nof it', /^standard input has more than one line/],
  ])('%j with %j is refused by the rules of the API', async (args, input, line) => {
    const { code, stdout, stderr } = await users(args, input)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(line)
    expect(stderr.trimEnd()).not.toContain('\n')
  })
})

describe('disable', () => {
  test('ends every session at once, and log-ins are refused like those of an unknown user', async () => {
    const user = await createUser()
    const other = await client().logIn(user.username, user.password)
    expect(await statusesOf(user)).toEqual([200, 200])
    expect((await users(['disable', user.username.toUpperCase()])).stdout).toBe(
      `disabled ${user.username}; all sessions have ended\n`,
    )
    expect(await statusesOf(user)).toEqual([401, 401])
    expect(await statusesOf(other)).toEqual([401, 401])
    const right = await logInStatus(user.username, user.password)
    const wrong = await logInStatus(user.username, 'wrong horse')
    const { request_id: _, ...problem } = right.body
    expect({ status: right.status, ...problem }).toEqual({ status: 401, ...withoutId(wrong.body) })

    // Idempotent: the time stays.
    const list = async () => JSON.parse((await users(['list', user.username, '--json'])).stdout)
    const [before] = await list()
    expect(before).toMatchObject({ live_sessions: 0, disabled_at: expect.stringMatching(/Z$/) })
    expect((await users(['disable', user.username])).code).toBe(0)
    expect(await list()).toEqual([before])

    expect(await users(['enable', user.username])).toMatchObject({ code: 0 })
    expect(await statusesOf(other)).toEqual([401, 401])
    expect(await statusesOf(await client().logIn(user.username, user.password))).toEqual([200, 200])
  })

  test('holds against concurrent log-ins, and against older programs', async () => {
    const user = await createUser()
    const sql = server.sql()
    // Logs in without pause until it is refused.
    const loggingIn = Array.from({ length: 4 }, async () => {
      const tokens = []
      for (;;) {
        const { status, body } = await logInStatus(user.username, user.password)
        if (status !== 200) return { status, tokens }
        tokens.push({ token: body.access_token, refreshToken: body.refresh_token })
      }
    })
    await users(['disable', user.username])
    for (const { status, tokens } of await Promise.all(loggingIn)) {
      expect(status).toBe(401)
      for (const held of tokens.slice(-3)) expect(await statusesOf(held)).toEqual([401, 401])
    }
    const [{ live } = { live: -1 }] = await sql`
      select count(*)::int live from sessions s join users u on u.id = s.user_id
      where lower(u.username) = lower(${user.username}) and s.ended_at is null`
    expect(live).toBe(0)
    // As a program inserts it that does not know the column.
    const inserted = await sql`
      insert into sessions (user_id, salt, expires_at)
      select id, 'salt', now() + interval '1 day' from users where username = ${user.username} returning id`
    expect(inserted).toHaveLength(0)
  })

  test('also works by psql', async () => {
    const user = await createUser()
    await server.sql()`update users set disabled_at = now() where username = ${user.username}`
    expect(await statusesOf(user)).toEqual([401, 401])
    expect((await logInStatus(user.username, user.password)).status).toBe(401)
  })
})

test('reset-password: only the new password is right, and all sessions have ended', async () => {
  const user = await createUser()
  for (const refused of ['short', 'password', user.username.toUpperCase()])
    expect(await users(['reset-password', user.username], refused)).toMatchObject({ code: 1 })
  expect(await statusesOf(user)).toEqual([200, 200])
  expect(await users(['reset-password', user.username], 'battery staple')).toMatchObject({
    code: 0,
    stdout: `changed the password of ${user.username}; all sessions have ended\n`,
  })
  expect(await statusesOf(user)).toEqual([401, 401])
  expect((await logInStatus(user.username, user.password)).status).toBe(401)
  await client().logIn(user.username, 'battery staple')

  await users(['disable', user.username])
  const again = await users(['reset-password', user.username], 'correct horse')
  expect(again.stdout).toMatch(/the account is still disabled\n$/)
  expect((await logInStatus(user.username, 'correct horse')).status).toBe(401)
})

test('logout-all: one user, then everybody', async () => {
  const [ann, bob] = [await createUser(), await createUser()]
  const again = await client().logIn(ann.username, ann.password)
  expect(await users(['logout-all', ann.username])).toMatchObject({ code: 0, stdout: 'ended 2 sessions\n' })
  expect([await statusesOf(ann), await statusesOf(again)]).toEqual([
    [401, 401],
    [401, 401],
  ])
  expect(await statusesOf(bob)).toEqual([200, 200])
  const everybody = await users(['logout-all', '--everybody'])
  expect(everybody.stdout).toMatch(/^ended \d+ sessions of \d+ users\n$/)
  expect(await statusesOf(bob)).toEqual([401, 401])
  await client().logIn(bob.username, bob.password)
})

test('list shows the users whose name begins with the prefix, without hashes', async () => {
  const prefix = newName('List')
  for (const name of ['b', 'a']) await users(['create', `${prefix}-${name}`], 'correct horse')
  const { stdout } = await users(['list', prefix.toLowerCase()])
  const [head, ...rows] = stdout.trimEnd().split('\n')
  expect(head).toMatch(/^id +username +state +sessions +last used +email$/)
  expect(rows.map((row) => row.split(/ +/)[1])).toEqual([`${prefix}-a`, `${prefix}-b`])
  expect(stdout).not.toContain('$2b$')
  // A prefix is not a pattern.
  expect(JSON.parse((await users(['list', '%', '--json'])).stdout)).toEqual([])
})

describe('prints one line for wrong arguments:', () => {
  test.each<[string[], RegExp]>([
    [[], /^give create, list, disable or another: see npm run users -- --help$/],
    [['remove', 'ann'], /^unknown argument "remove": see/],
    [['toString'], /^unknown argument "toString": see/],
    [['create'], /^create: give a name: see/],
    [['create', 'ann', 'hunter2'], /^unknown argument "hunter2": see/],
    [['create', 'ann', '--password', 'hunter2'], /'--password'.*: see/],
    [['disable', 'ann', '--email', 'x'], /^disable takes no --email: see/],
    [['disable', 'nobody-of-this-name'], /^there is no user "nobody-of-this-name"$/],
    [['enable', 'nobody-of-this-name'], /^there is no user/],
    [['reset-password', 'nobody-of-this-name'], /^there is no user/],
    [['logout-all', 'nobody-of-this-name'], /^there is no user/],
    [['logout-all'], /^give either a name or --everybody: see/],
    [['logout-all', 'ann', '--everybody'], /^give either a name or --everybody: see/],
  ])('%j', async (args, line) => {
    const { code, stdout, stderr } = await users(args, 'correct horse')
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr.trimEnd()).toMatch(line)
    expect(stderr.trimEnd()).not.toContain('\n')
  })

  test('a database without migrations', async () => {
    const url = server.url(await server.createDatabase())
    expect(await runBuilt('users', ['list'], { environment: { DATABASE_URL: url } })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^cannot use the database: .*: run npm run migrate: .*42P01.*\n$/),
    })
  })

  test.each([
    ['users', 'list'],
    ['outbox', 'status'],
  ])('why the database cannot be used: %s %s', async (command, argument) => {
    const attempt = async (change: (url: URL) => void) => {
      const url = new URL(server.url())
      url.password = 'hunter2'
      change(url)
      const ran = await runBuilt(command, [argument], { environment: { DATABASE_URL: url.href } })
      expect(ran).toMatchObject({ code: 1, stdout: '' })
      expect(ran.stderr).not.toContain('hunter2')
      return ran.stderr
    }
    const refused = await attempt((url) => {
      url.port = '1'
    })
    expect(refused).toMatch(/^cannot use the database: .*ECONNREFUSED.*\n$/)
    expect(await attempt(() => {})).toMatch(
      /^cannot use the database: .*password authentication failed .*28P01.*\n$/,
    )
  })

  test('--help exits with 0', async () => {
    expect(await users(['--help'])).toMatchObject({
      code: 0,
      stderr: '',
      stdout: expect.stringContaining('enable NAME'),
    })
  })
})

const withoutId = ({ request_id: _, ...problem }: Record<string, unknown>) => problem

/** In a pseudo-terminal of `script`. Each answer is typed at its prompt. */
async function atTerminal(args: string[], answers: string[]) {
  const quoted = [process.execPath, join(root, 'dist/users.js'), ...args].map((arg) => `'${arg}'`).join(' ')
  const child = spawn('script', ['-qec', quoted, '/dev/null'], {
    env: { PATH: process.env.PATH, ...environment },
  })
  let output = ''
  let asked = 0
  child.stdout.on('data', (chunk) => {
    output += chunk
    const prompts = output.match(/Password: |Again: /g)?.length ?? 0
    for (; asked < prompts; asked++) child.stdin.write(`${answers[asked]}\r`)
  })
  const [stderr, [code]] = await Promise.all([text(child.stderr), once(child, 'close')])
  return { code, output: output + stderr }
}

test('invalidates the cache in the memory of npm start at once, also after its database was down', async (context) => {
  const service = await createService(context)
  const started = await service.start()
  const { request, register } = createClient(started)
  const environment = { ...service.settings, DATA_DIR: service.dataDirectory }
  const cached = async () => {
    const { token, username } = await register()
    const list = () => request('GET', '/api/tasks/', { token })
    await until(async () => /hit/.test((await list()).headers.get('Cache-Status') ?? ''))
    return { username, list }
  }
  const endsAtOnce = async () => {
    const [one, other] = [await cached(), await cached()]
    expect(await runBuilt('users', ['disable', one.username], { environment })).toMatchObject({
      code: 0,
      stderr: '',
    })
    await until(async () => (await one.list()).status === 401, 5_000)
    expect((await other.list()).headers.get('Cache-Status')).toMatch(/hit/)
    expect((await runBuilt('users', ['logout-all', '--everybody'], { environment })).code).toBe(0)
    await until(async () => (await other.list()).status === 401, 5_000)
  }
  await endsAtOnce()

  const lock = await readFile(join(service.dataDirectory, 'postgres/postmaster.pid'), 'utf8')
  endProcess(Number.parseInt(lock, 10))
  await started.line(({ message }) => message === 'the database runs again')
  await until(async () => (await request('GET', '/readyz')).status === 200)
  // The connection for invalidations reconnects by itself.
  await until(async () => {
    const rows = await service.query<{ count: string }>(
      `select count(*) from pg_stat_activity where query like 'listen %task_api_renewals%'`,
    )
    return rows[0]?.count === '1'
  })
  await endsAtOnce()
})
