/**
 * Settings as the process takes them: those that are refused at the start, with which message, and the effect
 * of each choice.
 */
import { spawn } from 'node:child_process'
import { createHmac, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, mkdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readConfig } from '../../src/config/api.ts'
import { settingNames } from '../../src/config/api-settings.ts'
import { StartError } from '../../src/core/start-error.ts'
import { createClient, newAddress, newName, problemFaults, taskPath } from '../support/client.ts'
import { root, temporaryDirectory } from '../support/directories.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import {
  type ApiProcess,
  createService,
  endProcess,
  type Line,
  migrateDatabase,
  startApi,
  startProgram,
} from '../support/processes.ts'
import { processesOf } from './fixtures/embedded-postgres.ts'

const patience = { timeout: 60_000, interval: 50 }
const secretA = 'the older secret: 32 bytes and some more'
const secretB = 'the newer secret: 32 bytes and some more'
/** So long that no test sees the end of a window. */
const wide = { RATE_LIMIT_ANONYMOUS: '100000/24h', RATE_LIMIT_USER: '100000/24h', BCRYPT_COST: '4' }

let postgresServer: TestPostgres
/** On a database that is migrated. */
let databaseUrl: string
let directory: string

beforeAll(async () => {
  postgresServer = await startTestPostgres()
  databaseUrl = postgresServer.url()
  await migrateDatabase(databaseUrl)
  directory = await temporaryDirectory()
})
afterAll(async () => {
  await postgresServer?.stop()
  await rm(directory, { recursive: true, force: true })
})

/** Runs a start to its end; one that goes on is ended, and fails the test. */
async function refusal(environment: Record<string, string>) {
  const child = spawn(process.execPath, [join(root, 'dist/api.js')], {
    cwd: directory,
    env: { PATH: process.env.PATH, PORT: '0', DATA_DIR: directory, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  child.stdout.on('data', (chunk) => String(chunk).includes('"listening"') && child.kill())
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  expect(stdout).not.toContain('"listening"')
  return { code, stdout, stderr }
}

/** The one line on stderr, which ended the start with exit code 1. */
async function lineOfRefusal(environment: Record<string, string>) {
  const { code, stderr } = await refusal(environment)
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/^[^\n]+\n$/) })
  return stderr.trimEnd()
}

const hidden = 'hunter2'
/** For each setting what is wrong and the beginning of what would be right. */
const bad: Record<string, [value: string, right: string]> = {
  PORT: ['65536', 'give a whole number from 0 to 65535'],
  WEB_CONCURRENCY: ['two', 'give a whole number from 1 to 128'],
  METRICS_PORT: ['http', 'give a whole number from 0 to 65535'],
  DATABASE_URL: [`mysql://root:${hidden}@localhost/tasks`, 'give a URL such as postgres://'],
  DATABASE_POOL: ['0', 'give a whole number from 1 to 1000'],
  DATABASE_TIMEOUT: ['10', 'give a time such as 10s'],
  DATABASE_PREPARE: ['yes', 'give on or off'],
  REDIS_URL: [`http://user:${hidden}@localhost:6379`, 'give a URL such as redis://'],
  REDIS_PREFIX: ['task api', 'give up to 64 letters, digits and : . _ -'],
  UPSTASH_REDIS_REST_URL: ['redis://localhost', 'give a URL such as https://'],
  CACHE: ['true', 'give on or off'],
  JWT_SECRET: [`${secretA},${hidden}`, 'give one or more secrets of at least 32 bytes'],
  ACCESS_TOKEN_TTL: ['1 hour', 'give a time such as 1h'],
  SESSION_IDLE_TTL: ['0s', 'give a time such as 30d'],
  SESSION_MAX_TTL: ['367d', 'give a time such as 90d'],
  RATE_LIMIT_USER: ['100', 'give requests per time such as 100/60s'],
  RATE_LIMIT_ANONYMOUS: ['0/60s', 'give requests per time such as 100/60s'],
  RATE_LIMIT_TOKEN: ['60/1d', 'give requests per time such as 100/60s'],
  RATE_LIMIT_REGISTER: ['20 an hour', 'give requests per time such as 100/60s'],
  RATE_LIMIT_LOGIN: ['10/0s', 'give requests per time such as 100/60s'],
  RATE_LIMIT_USERNAME: ['10/25h', 'give requests per time such as 100/60s'],
  TRUSTED_PROXY_HEADER: ['X-Real-IP, X-Forwarded-For', 'give the name of one header'],
  TRUSTED_PROXY_ADDRESSES: ['10.0.0.0/8, proxy', 'give addresses and ranges of them such as 10.0.0.0/8'],
  TRUSTED_PROXY_HOPS: ['-1', 'give a whole number from 1 to 20'],
  PUBLIC_URL: ['tasks.example.com', 'give a URL such as https://'],
  CORS_ORIGINS: ['https://*.example.com', 'give origins such as https://app.example.com'],
  REGISTRATION: ['invite', 'give open or closed'],
  NOTIFIER_ENDPOINT: ['localhost:3001', 'give a URL such as https://'],
  NOTIFIER_PORT: ['0', 'give a whole number from 1 to 65535'],
  NOTIFIER_FUNCTION: ['task notifier', 'give the name or the ARN of a Lambda function'],
  NOTIFIER_INVOCATION: ['event', 'give RequestResponse or Event'],
  NOTIFIER_DATABASE_URL: [`mysql://root:${hidden}@localhost/tasks`, 'give a URL such as postgres://'],
  NOTIFIER_CONCURRENCY: ['0', 'give a whole number from 1 to 1000'],
  NOTIFIER_RETRY_DELAYS: ['1m;2m', 'give up to 10 times such as 1m,2m'],
  NOTIFIER_MAXIMUM_EVENT_AGE: ['10ms', 'give a time such as 6h'],
  NOTIFIER_ON_FAILURE: [`ftp://${hidden}.example.com/x`, 'give a URL such as https://'],
  NOTIFY_WEBHOOK_URL: [`ftp://${hidden}.example.com`, 'give a URL such as https://'],
  NOTIFY_WEBHOOK_SECRET: [`whsec_${hidden}`, 'give whsec_ and 24 to 64 bytes in base64'],
  NOTIFY_EMAIL_TO: ['Ann <ann@example.com>', 'give addresses such as ops@example.com'],
  NOTIFY_EMAIL_FROM: ['tasks', 'give an address such as tasks@example.com'],
  SMTP_URL: [`mail.example.com:${hidden}`, 'give a URL such as smtps://'],
  AWS_REGION: ['Ireland', 'give a region such as eu-west-1'],
  AWS_ACCESS_KEY_ID: ['AKIA 1', 'give visible ASCII characters'],
  AWS_SECRET_ACCESS_KEY: [`${hidden}\n`, 'give visible ASCII characters'],
  AWS_SESSION_TOKEN: [`${hidden} `, 'give visible ASCII characters'],
  UPSTASH_REDIS_REST_TOKEN: [`${hidden}\r\n`, 'give visible ASCII characters'],
  MAX_CONNECTIONS: ['0', 'give a whole number from 1 to 1000000'],
  SHUTDOWN_DELAY: ['5', 'give a time such as 5s'],
  BCRYPT_COST: ['31', 'give a whole number from 4 to 15'],
  LOG_LEVEL: ['verbose', 'give one of debug, info, warn, error, silent'],
}
/** Any text will do for these, or its fault shows only when it is used. */
const anyText = ['METRICS_HOST', 'HOST', 'DATABASE_CA', 'DATA_DIR', 'JWT_ISSUER', 'JWT_AUDIENCE']
const complaint = (name: string, [value, right]: [string, string]) =>
  `${name}: ${value.includes(hidden) ? 'its value' : JSON.stringify(value)} is not usable; ${right}`

describe('a bad setting', () => {
  test('is known here for every setting there is', () => {
    expect([...settingNames].sort()).toEqual([...Object.keys(bad), ...anyText].sort())
  })

  test.each(Object.entries(bad))('%s: alone, is one line', (name, [value, right]) => {
    const start = () => readConfig({ [name]: value })
    expect(start).toThrow(StartError)
    expect(start).toThrow(complaint(name, [value, right]))
    expect(start).not.toThrow(/\n/)
    expect(start).not.toThrow(hidden)
  })

  test.each([
    'https://ann:pw@tasks.example.com',
    'https://tasks.example.com/?a=b',
    'https://tasks.example.com/#',
    'ftp://tasks',
  ])('%s is refused: no path can follow it, or fetch refuses it', (url) => {
    for (const name of ['PUBLIC_URL', 'NOTIFIER_ENDPOINT', 'UPSTASH_REDIS_REST_URL'])
      expect(() => readConfig({ [name]: url })).toThrow(
        new RegExp(`^${name}: .*give a URL such as .*, without`),
      )
  })

  test.each([
    ['https://bücher.example/größe/', 'https://xn--bcher-kva.example/gr%C3%B6%C3%9Fe'],
    ['HTTPS://Tasks.Example.com:443/to do', 'https://tasks.example.com/to%20do'],
    [' https://tasks.example.com/a\n', 'https://tasks.example.com/a'],
    ['http://[2001:DB8::1]:8080/"a"<b>/', 'http://[2001:db8::1]:8080/%22a%22%3Cb%3E'],
  ])('PUBLIC_URL: %j is used in the form that headers carry', (PUBLIC_URL, normalised) => {
    const { publicUrl } = readConfig({ PUBLIC_URL })
    expect(publicUrl).toBe(normalised)
    expect(new Headers({ Location: publicUrl }).get('Location')).toBe(normalised)
  })

  test.each([
    '*',
    'null',
    'https://*.app.example',
    'https://app.example/',
    'https://app.example:443',
    'HTTPS://app.example',
    'https://bücher.example',
    'ftp://app.example',
    'https://app.example,',
  ])('CORS_ORIGINS: no origin that a browser never sends (%s)', (CORS_ORIGINS) => {
    expect(() => readConfig({ CORS_ORIGINS })).toThrow(/^CORS_ORIGINS: .*give origins such as/)
  })

  test('CORS_ORIGINS: takes what browsers send', () => {
    const list = [
      'https://app.example',
      'http://localhost:5173',
      'http://[::1]:8080',
      'https://xn--bcher-kva.example',
    ]
    expect(readConfig({ CORS_ORIGINS: list.join(' , ') }).corsOrigins).toEqual(list)
  })

  test.each(['UPSTASH_REDIS_REST_TOKEN', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN'])(
    '%s: nothing that a header cannot carry',
    (name) => {
      for (const value of [`${hidden}\n`, `${hidden} 2`, `${hidden}é`])
        expect(() => readConfig({ [name]: value })).toThrow(new RegExp(`^${name}: .*give visible ASCII`))
    },
  )

  test('SESSION_IDLE_TTL: not longer than SESSION_MAX_TTL, which shortens its default', () => {
    expect(() => readConfig({ SESSION_IDLE_TTL: '91d' })).toThrow(
      /^SESSION_IDLE_TTL: longer than SESSION_MAX_TTL/,
    )
    expect(readConfig({ SESSION_MAX_TTL: '7d' }).tokens.sessionIdleTtlMs).toBe(7 * 86_400_000)
    expect(readConfig({ SESSION_IDLE_TTL: '90d' }).tokens.sessionIdleTtlMs).toBe(90 * 86_400_000)
  })

  test.each([
    [{ PORT: '3001' }, 'NOTIFIER_PORT: 3001 is the port of PORT too'],
    [{ METRICS_PORT: '3000' }, 'METRICS_PORT: 3000 is the port of PORT too'],
    [{ METRICS_PORT: '9090', NOTIFIER_PORT: '9090' }, 'NOTIFIER_PORT: 9090 is the port of METRICS_PORT too'],
  ])('two ports of its own that are the same: %o', (environment, wanted) => {
    expect(() => readConfig(environment)).toThrow(wanted)
  })

  test('stops the start with exit code 1, before anything else is begun; all of them are told at once', async () => {
    const values = Object.entries(bad).map(([name, [value]]) => [name, value])
    const { code, stdout, stderr } = await refusal(Object.fromEntries(values))
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr).not.toContain(hidden)
    const lines = stderr.trimEnd().split('\n').sort()
    const wanted = Object.entries(bad).map(([name, row]) => complaint(name, row))
    expect(lines.map((line, index) => line.slice(0, wanted.sort()[index]?.length))).toEqual(wanted)
  })
})

test('limits by default are those of the contract', () => {
  const told = Object.values(readConfig({}).limits).map(({ name, limit, windowMs }) => [
    name,
    limit,
    windowMs / 1000,
  ])
  expect(told).toEqual([
    ['user', 100, 60],
    ['anonymous', 20, 60],
    ['token', 60, 60],
    ['register', 20, 3600],
    ['login', 10, 60],
    ['username', 100, 60],
    ['password', 10, 60],
  ])
})

describe('a start that cannot be is refused in one line:', () => {
  test.each([
    ['with DATABASE_URL', () => ({ DATABASE_URL: databaseUrl }), 'DATABASE_URL is set'],
    ['on an address that others reach', () => ({ HOST: '0.0.0.0' }), 'HOST is 0.0.0.0'],
  ])('no JWT_SECRET %s', async (_, environment, reason) => {
    const line = await lineOfRefusal(environment())
    expect(line).toBe(
      `JWT_SECRET: missing, and ${reason}; give a secret of at least 32 bytes, such as openssl rand -base64 48 makes`,
    )
  })

  test.each([
    [{ SMTP_URL: 'smtp://localhost' }, /^NOTIFY_EMAIL_TO: missing beside SMTP_URL; give both/],
    [{ NOTIFY_EMAIL_TO: 'ops@example.com' }, /^SMTP_URL: missing beside NOTIFY_EMAIL_TO; give both/],
    [{ NOTIFY_EMAIL_FROM: 'a@example.com' }, /^SMTP_URL, NOTIFY_EMAIL_TO: missing beside NOTIFY_EMAIL_FROM/],
    [
      { NOTIFY_WEBHOOK_SECRET: `whsec_${btoa('x'.repeat(32))}` },
      /^NOTIFY_WEBHOOK_URL: missing beside NOTIFY_WEBHOOK_SECRET; give both/,
    ],
  ])('settings that are nothing without others: %o', async (environment, wanted) => {
    expect(await lineOfRefusal(environment)).toMatch(wanted)
  })

  test('a notifier elsewhere without keys for it', async () => {
    const elsewhere = { NOTIFIER_ENDPOINT: 'http://127.0.0.1:1' }
    const half = await lineOfRefusal({ ...elsewhere, AWS_ACCESS_KEY_ID: 'one' })
    expect(half).toMatch(
      /^AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: one of them is missing; give the key pair/,
    )
    const none = await lineOfRefusal({ ...elsewhere, AWS_EC2_METADATA_DISABLED: 'true', HOME: '/nowhere' })
    expect(none).toMatch(
      /^AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: missing .*finds none.*; give the key pair/,
    )
  })

  test('several processes that share no store', async () => {
    expect(await lineOfRefusal({ WEB_CONCURRENCY: '2' })).toBe(
      'WEB_CONCURRENCY: 2 processes cannot share limits in memory; give REDIS_URL, or UPSTASH_REDIS_REST_URL with its token',
    )
  })

  test('a notifier at AWS, in another region than it would be signed for', async () => {
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }
    const NOTIFIER_ENDPOINT = 'https://lambda.eu-west-1.amazonaws.com'
    const line = await lineOfRefusal({ ...keys, NOTIFIER_ENDPOINT })
    expect(line).toBe('AWS_REGION: us-east-1, but NOTIFIER_ENDPOINT is in eu-west-1; give eu-west-1')
    expect(() => readConfig({ ...keys, NOTIFIER_ENDPOINT, AWS_REGION: 'eu-west-1' })).not.toThrow()
    for (const host of ['vpce-0a1b.lambda.eu-west-1.vpce.amazonaws.com', 'lambda-fips.us-gov-west-1.api.aws'])
      expect(() => readConfig({ ...keys, NOTIFIER_ENDPOINT: `https://${host}` })).toThrow(
        /^AWS_REGION: us-east-1, but/,
      )
    for (const host of ['lambda.example.com', 'lambda.eu-west-1.example.com'])
      expect(() => readConfig({ ...keys, NOTIFIER_ENDPOINT: `https://${host}` })).not.toThrow()
  })

  describe('what only shows on the way', () => {
    const withDatabase = async () => ({
      DATABASE_URL: databaseUrl,
      JWT_SECRET: secretA,
      NOTIFIER_PORT: String(await findFreePort()),
    })
    const taken = async (onTestFinished: (act: () => void) => void) => {
      const server: Server = createServer()
      onTestFinished(() => void server.close())
      return String(await listenOnLoopback(server))
    }

    test('PORT, before a data directory is made', async ({ onTestFinished }) => {
      const PORT = await taken(onTestFinished)
      const DATA_DIR = join(directory, 'not-made')
      expect(await lineOfRefusal({ PORT, DATA_DIR })).toMatch(/^PORT: .*is taken/)
      await expect(stat(DATA_DIR)).rejects.toMatchObject({ code: 'ENOENT' })
      const line = await lineOfRefusal({ ...(await withDatabase()), PORT })
      expect(line).toMatch(new RegExp(`^PORT: ${PORT} on 127\\.0\\.0\\.1 is taken .* give .*port`))
    })

    test('METRICS_PORT', async ({ onTestFinished }) => {
      const METRICS_PORT = await taken(onTestFinished)
      const line = await lineOfRefusal({ ...(await withDatabase()), METRICS_PORT })
      expect(line).toMatch(new RegExp(`^METRICS_PORT: ${METRICS_PORT} .*is taken .* give .*port`))
    })

    test('NOTIFIER_PORT', async ({ onTestFinished }) => {
      const NOTIFIER_PORT = await taken(onTestFinished)
      const line = await lineOfRefusal({ ...(await withDatabase()), NOTIFIER_PORT })
      expect(line).toMatch(new RegExp(`^NOTIFIER_PORT: ${NOTIFIER_PORT} .*is taken .* give .*port`))
    })

    test.each([
      // An address for documentation: no machine has it.
      ['HOST', '192.0.2.1', /^HOST: .*192\.0\.2\.1.*; give .*127\.0\.0\.1/],
    ])('%s', async (name, value, wanted) => {
      const line = await lineOfRefusal({ ...(await withDatabase()), [name]: value })
      expect(line).toMatch(wanted)
      expect(line).not.toContain(hidden)
    })

    test('a DATA_DIR that is a file', async () => {
      const DATA_DIR = join(directory, 'file')
      await writeFile(DATA_DIR, '')
      expect(await lineOfRefusal({ DATA_DIR })).toMatch(/^DATA_DIR .*file.* is not a directory/)
    })

    test('a DATA_DIR that leads nowhere', async () => {
      const DATA_DIR = join(directory, 'dangling')
      await symlink(join(directory, 'gone/for-good'), DATA_DIR)
      expect(await lineOfRefusal({ DATA_DIR })).toMatch(/^DATA_DIR.*dangling.*; give a directory/)
    })

    test.runIf(process.platform === 'linux')('a DATA_DIR that cannot be made', async () => {
      for (const DATA_DIR of ['/proc/task-api', '/proc/task-api/data', '/dev/null/data'])
        expect(await lineOfRefusal({ DATA_DIR })).toMatch(/^DATA_DIR.*(cannot make|is not a directory)/)
    })

    test('a database behind DATABASE_URL that needs a newer program', async () => {
      const name = await postgresServer.createDatabase()
      const DATABASE_URL = postgresServer.url(name)
      await migrateDatabase(DATABASE_URL)
      await postgresServer.sql(
        name,
      )`insert into schema_migrations values (1000, '1000_later.sql', '', now(), 999)`
      const line = await lineOfRefusal({ ...(await withDatabase()), DATABASE_URL })
      expect(line).toMatch(/^DATABASE_URL: .* knows migration 999, .* start a newer program$/)
    })
  })

  test.each([
    ['empty', ''],
    ['short', 'guess me'],
  ])('a kept secret that is %s', async (name, kept) => {
    const DATA_DIR = join(directory, `${name}-secret`)
    await mkdir(DATA_DIR)
    await writeFile(join(DATA_DIR, 'jwt-secret'), kept, { mode: 0o600 })
    expect(await lineOfRefusal({ DATA_DIR, NOTIFIER_PORT: String(await findFreePort()) })).toMatch(
      /jwt-secret/,
    )
  })

  test.each(['jwt-secret', 'notifier-credentials', 'postgres-password'])(
    'a kept secret that others can use: %s',
    async (name) => {
      const DATA_DIR = join(directory, `open-${name}`)
      await mkdir(DATA_DIR)
      const file = join(DATA_DIR, name)
      const start = async () => lineOfRefusal({ DATA_DIR, NOTIFIER_PORT: String(await findFreePort()) })
      await writeFile(file, 'x'.repeat(40))
      for (const mode of [0o640, 0o602, 0o777]) {
        await chmod(file, mode)
        expect(await start()).toMatch(
          new RegExp(`^DATA_DIR: .*/${name} has mode ${mode.toString(8)}.*chmod 600`),
        )
      }
      if (process.getuid?.() !== 0) return
      await chmod(file, 0o600)
      await chown(file, 12_345, 12_345)
      expect(await start()).toMatch(new RegExp(`^DATA_DIR: .*/${name} belongs to user 12345`))
    },
  )

  test('a DATA_DIR in use, whose API goes on; a database in it that needs a newer program', async (context) => {
    const service = await createService(context)
    const api = await service.start()
    const elsewhere = { PORT: '0', NOTIFIER_PORT: String(await findFreePort()) }
    const again = () => lineOfRefusal({ ...service.settings, ...elsewhere, DATA_DIR: service.dataDirectory })
    expect(await again()).toBe(
      `DATA_DIR ${service.dataDirectory} is in use by process ${api.child.pid}: stop that one, or set another DATA_DIR`,
    )
    await createClient(api).register()

    const insert = `insert into schema_migrations
      select version + 1, '1000_later.sql', '', now(), version + 1 from schema_migrations order by version desc limit 1`
    await service.query(insert)
    await api.stop()
    expect(await again()).toMatch(
      /is at 1000_later\.sql, which no program older than .*: run a newer program/,
    )
    expect(processesOf(service.dataDirectory)).toEqual([])
  })
})

test('a database that is away keeps its password out of the log; the start waits for it', async (context) => {
  const port = await findFreePort()
  const service = await createService(context, {
    DATABASE_URL: `postgres://tasks:${hidden}@127.0.0.1:${port}/tasks`,
    JWT_SECRET: secretA,
  })
  const api = await service.start()
  const registered = await createClient(api).request('POST', '/api/register/', {
    json: { username: newName(), password: 'correct horse' },
  })
  expect({ status: registered.status, faults: problemFaults(registered) }).toEqual({
    status: 503,
    faults: [],
  })
  expect(await api.stop()).toBe(0)
  const { length } = api.lines.filter(({ level }) => level === 'warn')
  expect(length).toBeGreaterThan(1)
  expect(JSON.stringify(api.lines)).not.toContain(hidden)
})

const jwtHeader = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString())
const isSignedBy = (key: string, token: string) => {
  const [header, payload, signature] = token.split('.')
  return createHmac('sha256', key).update(`${header}.${payload}`).digest('base64url') === signature
}

describe('JWT_SECRET', () => {
  const tokensWork = async (api: ApiProcess, tokens: { token: string; refreshToken: string }) => {
    const { request } = createClient(api)
    const me = await request('GET', '/api/users/me/', { token: tokens.token })
    const refreshed = await request('POST', '/api/token/refresh/', {
      json: { refresh_token: tokens.refreshToken },
    })
    expect([me.status, refreshed.status]).toEqual([200, 200])
    return { token: refreshed.body.access_token, refreshToken: refreshed.body.refresh_token }
  }

  test('is made once where none is needed, for its owner alone, and tokens outlive a restart', async (context) => {
    const service = await createService(context)
    const file = join(service.dataDirectory, 'jwt-secret')
    const first = await service.start()
    const user = await createClient(first).register()
    const made = await readFile(file, 'utf8')
    expect(Buffer.byteLength(made)).toBeGreaterThanOrEqual(32)
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(isSignedBy(made, user.token)).toBe(true)
    expect(await first.stop()).toBe(0)

    await tokensWork(await service.start(), user)
    expect(await readFile(file, 'utf8')).toBe(made)
    expect(JSON.stringify(service.lines())).not.toContain(made)
  })

  test('lies in a DATA_DIR that others cannot list', async (context) => {
    const service = await createService(context)
    const data = join(service.dataDirectory, 'data')
    // The environment's DATA_DIR wins over the service's own.
    Object.assign(service.settings, { DATA_DIR: data })
    await service.start()
    // Root's server, which runs as another user, has to pass through.
    expect((await stat(data)).mode & 0o777).toBe(process.getuid?.() === 0 ? 0o711 : 0o700)
  })

  test('is changed without logging anybody out: the new one in front, then without the old one', async (context) => {
    const service = await createService(context, { DATABASE_URL: databaseUrl })
    const startWith = (JWT_SECRET: string) => {
      Object.assign(service.settings, { JWT_SECRET })
      return service.start()
    }
    const old = await startWith(secretA)
    const user = await createClient(old).register()
    for (const _ of 'ab') await createClient(old).createTask(user.token)
    const page = await createClient(old).request('GET', '/api/tasks/?limit=1', { token: user.token })
    await old.stop()

    const both = await startWith(`${secretB}, ${secretA}`)
    const renewed = await tokensWork(both, user)
    const second = await createClient(both).request('GET', page.body.next, { token: user.token })
    expect(second).toMatchObject({ status: 200, body: { results: [{}] } })
    for (const { token } of [renewed, await createClient(both).logIn(user.username, user.password)]) {
      expect(isSignedBy(secretB, token)).toBe(true)
      expect(jwtHeader(token).kid).not.toBe(jwtHeader(user.token).kid)
    }
    expect(isSignedBy(secretA, user.token)).toBe(true)
    await both.stop()

    const renewedOnly = await startWith(secretB)
    await tokensWork(renewedOnly, renewed)
    const outdated = await createClient(renewedOnly).request('GET', '/api/users/me/', { token: user.token })
    expect(outdated.status).toBe(401)
    expect(JSON.stringify(service.lines())).not.toMatch(/the (older|newer) secret/)
  })
})

describe('choices:', () => {
  let plain: ApiProcess
  let chosen: ApiProcess

  beforeAll(async () => {
    const common = { ...wide, DATABASE_URL: databaseUrl, JWT_SECRET: secretA }
    plain = await startApi({ environment: common })
    chosen = await startApi({
      environment: {
        ...common,
        REGISTRATION: 'closed',
        PUBLIC_URL: 'https://tasks.example.com/team/',
        TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
      },
    })
  })
  afterAll(async () => {
    await plain?.stop()
    await chosen?.stop()
  })

  test('REGISTRATION=closed refuses new accounts and nothing else', async () => {
    const json = { username: newName(), password: 'correct horse' }
    const refused = await createClient(chosen).request('POST', '/api/register/', { json })
    expect({ status: refused.status, faults: problemFaults(refused) }).toEqual({ status: 403, faults: [] })
    const login = () => createClient(chosen).request('POST', '/api/token/', { json })
    expect((await login()).status).toBe(401)
    expect((await createClient(plain).request('POST', '/api/register/', { json })).status).toBe(201)
    expect((await login()).status).toBe(200)
  })

  test('PUBLIC_URL is in front of every URL in an answer; without it they are paths', async () => {
    const { token } = await createClient(plain).register()
    const urls = async (api: ApiProcess) => {
      const { request } = createClient(api)
      const headers = { Host: 'evil.example.com', 'X-Forwarded-Host': 'evil.example.com' }
      const made = await request('POST', '/api/tasks/', { token, json: { title: 'One' }, headers })
      await request('POST', '/api/tasks/', { token, json: { title: 'Two' } })
      const { body, headers: answered } = await request('GET', '/api/tasks/?limit=1', { token, headers })
      return [made.headers.get('Location'), body.next, answered.get('Link')]
    }
    const path = '/api/tasks/'
    expect(await urls(plain)).toEqual([
      expect.stringMatching(`^${path}\\d+/$`),
      expect.stringMatching(`^${path}\\?.*cursor=`),
      expect.stringMatching(`^<${path}\\?.*cursor=`),
    ])
    const prefix = 'https://tasks.example.com/team'
    expect(await urls(chosen)).toEqual([
      expect.stringMatching(`^${prefix}${path}\\d+/$`),
      expect.stringMatching(`^${prefix}${path}\\?.*cursor=`),
      expect.stringMatching(`^<${prefix}${path}\\?.*cursor=`),
    ])
    const strict = async (api: ApiProcess) =>
      (await createClient(api).request('GET', '/healthz')).headers.has('Strict-Transport-Security')
    expect([await strict(plain), await strict(chosen)]).toEqual([false, true])
  })

  test('without TRUSTED_PROXY_HEADER no header says where a request comes from', async () => {
    const remaining = async (api: ApiProcess) => {
      // The client's own header, X-Forwarded-For, has another address each time.
      const headers = {
        'X-Real-IP': newAddress(),
        'CF-Connecting-IP': newAddress(),
        Forwarded: `for=${newAddress()}`,
      }
      const answer = await createClient(api).request('GET', '/api/tasks/', { headers })
      return Number(answer.headers.get('X-RateLimit-Remaining'))
    }
    const first = await remaining(plain)
    expect([await remaining(plain), await remaining(plain)]).toEqual([first - 1, first - 2])
    expect([await remaining(chosen), await remaining(chosen)]).toEqual([99_999, 99_999])
  })
})

test('LOG_LEVEL=silent prints nothing but what the notifier tells', async ({ onTestFinished }) => {
  const port = await findFreePort()
  const api = startProgram([process.execPath, join(root, 'dist/api.js')], {
    environment: {
      ...wide,
      PORT: String(port),
      NOTIFIER_PORT: String(await findFreePort()),
      DATA_DIR: directory,
      DATABASE_URL: databaseUrl,
      JWT_SECRET: secretA,
      LOG_LEVEL: 'silent',
    },
  })
  onTestFinished(() => void api.stop('SIGKILL'))
  const client = createClient({ baseUrl: `http://127.0.0.1:${port}`, addressHeader: 'X-Forwarded-For' })
  await vi.waitFor(async () => expect((await client.request('GET', '/readyz')).status).toBe(200), patience)
  const { token } = await client.register()
  for (const path of ['/api/tasks/0/', '/nowhere', '/api/tasks/?limit=0'])
    expect((await client.request('GET', path, { token })).status).toBeGreaterThanOrEqual(400)
  const task = await client.createTask(token, { status: 'completed' })
  await api.line(({ message }) => message === 'task completed')
  expect(await api.stop()).toBe(0)
  expect(api.lines).toEqual([expect.objectContaining({ message: 'task completed', task_id: task.id })])
})

test('no log has a token, a password, a task’s text or a search in it, whatever happens', async (context) => {
  const service = await createService(context, { LOG_LEVEL: 'debug' })
  const api = await service.start()
  const client = createClient(api)
  const mark = randomUUID().slice(0, 8)
  const password = `password-${mark}`
  const user = await client.register(newName(), password)
  const { token, refreshToken, username } = user
  const send = (method: string, path: string, json?: unknown, headers?: Record<string, string>) =>
    client.request(method, path, {
      token,
      ...(json === undefined ? {} : { json }),
      ...(headers ? { headers } : {}),
    })

  const task = await client.createTask(token, { title: `title-${mark}`, description: `text-${mark}` })
  const asked = [
    await send('GET', `/api/tasks/?search=search-${mark}&limit=1`),
    await send('GET', `/api/tasks/?search=search-${mark}&limit=search-${mark}&unknown-${mark}=1`),
    await send('GET', `/api/tasks/?cursor=cursor-${mark}`),
    await send('GET', `/api/users/?search=search-${mark}`),
    await send('GET', `/api/tasks/path-${mark}/`),
    await send('GET', `/unknown?query-${mark}`),
    await send('POST', '/api/tasks/', { title: `title-${mark}\u0000` }),
    await send('POST', '/api/tasks/', { title: `title-${mark}`, assigned_to: 999_999_999 }),
    await send('POST', '/api/tasks/', { title: `title-${mark}` }, { 'Idempotency-Key': `key-${mark}` }),
    await send('POST', '/api/tasks/', { title: `title-${mark}2` }, { 'Idempotency-Key': `key-${mark}` }),
    await client.request('POST', '/api/tasks/', { token, body: `{"title": "title-${mark}` }),
    await send('PATCH', taskPath(task), { title: `title-${mark}`.repeat(99) }),
    await send('PATCH', taskPath(task), { title: `title-${mark}` }, { 'If-Match': `"etag-${mark}"` }),
    await send('POST', '/api/register/', { username, password }),
    await send('POST', '/api/token/', { username, password: `password-wrong-${mark}` }),
    await send('POST', '/api/token/', { username, password: `password-${mark}`.repeat(9) }),
    await send('POST', '/api/token/refresh/', { refresh_token: `token-${mark}` }),
    await send('POST', '/api/token/refresh/', { refresh_token: refreshToken }),
    await send('PATCH', '/api/users/me/', { password: `password-new-${mark}`, current_password: password }),
    await client.request('GET', '/api/users/me/', { token: `token-${mark}` }),
    await client.request('GET', `/api/users/me/?access_token=token-${mark}`),
  ]
  // Postgres away: errors of all kinds. It is soon back, and a write that has not reached it meanwhile is
  // tried again.
  for (let status = 0; status !== 503; ) {
    const lock = await readFile(join(service.dataDirectory, 'postgres/postmaster.pid'), 'utf8').catch(
      () => '',
    )
    if (lock) endProcess(Number.parseInt(lock, 10))
    ;({ status } = await send('PATCH', taskPath(task), {
      title: `title-${mark}`,
      description: `text-${mark}`,
    }))
    asked.push(await send('GET', `/api/tasks/?search=search-${mark}`))
  }
  await api.line(({ message }) => message === 'the database runs again')
  const complete = () => send('PATCH', taskPath(task), { status: 'completed' })
  await vi.waitFor(async () => expect((await complete()).status).toBe(200), patience)
  await api.line(({ message }) => message === 'task completed')
  expect(await api.stop()).toBe(0)
  expect(asked.filter(({ status }) => status === 500)).toEqual([])

  const ofRequest = ({ message }: Line) => message === 'request'
  expect(api.lines.filter(ofRequest).length).toBeGreaterThan(asked.length)
  expect(api.lines.filter(ofRequest)).toContainEqual(
    expect.objectContaining({ method: 'GET', route: '/api/tasks/', status: 200, user_id: user.id }),
  )
  // The notification itself, which is there to tell people what was completed.
  const lines = api.lines
    .filter(({ message }) => message !== 'task completed')
    .map((line) => JSON.stringify(line))
  const kept = (name: string) => readFile(join(service.dataDirectory, name), 'utf8')
  const words = [mark, token, refreshToken, refreshToken.slice(-20), (await kept('jwt-secret')).trim()]
  words.push(
    (await kept('postgres-password')).trim(),
    /secret_access_key=(.*)/.exec(await kept('notifier-credentials'))?.[1] ?? 'none',
  )
  for (const text of [...lines, ...(await kept('postgres.log')).split('\n')])
    expect(words.filter((word) => text.includes(word)).map(() => text)).toEqual([])
})
