/** DATABASE_URL as libpq reads it, and the checks of each sslmode against real servers with their own CA. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, chown, copyFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { StartError } from '../../src/core/start-error.ts'
import { DeadlineError } from '../../src/ports/database.ts'
import { findServerUser } from '../../src/runtime/embedded-postgres/user.ts'
import { connectTo } from '../../src/runtime/postgres/connect.ts'
import { readDatabaseUrl } from '../../src/runtime/postgres/database-url.ts'
import { inspectServer } from '../../src/runtime/postgres/inspect-server.ts'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { hasPgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import { listenOnLoopback } from '../support/ports.ts'
import { type PostgresCluster, password, startPostgresCluster } from '../support/postgres-cluster.ts'
import { migrateDatabase, startProgram } from '../support/processes.ts'

const read = (query: string, databaseCa?: string) =>
  readDatabaseUrl({ databaseUrl: `postgres://user:secret@db.example.com:5433/tasks?${query}`, databaseCa })

describe('a database URL', () => {
  test('gives options for the server, and lists the parameters that no server knows', () => {
    const { options, unused } = read(
      'pgbouncer=true&connection_limit=5&channel_binding=require&application_name=mine&search_path=tasks&connect_timeout=3',
    )
    expect(options).toEqual({
      host: 'db.example.com',
      port: 5433,
      database: 'tasks',
      username: 'user',
      password: 'secret',
      ssl: 'prefer',
      connect_timeout: 3,
      connection: { application_name: 'mine', search_path: 'tasks' },
    })
    expect(unused).toEqual(['pgbouncer', 'connection_limit', 'channel_binding'])
  })

  test('may have an IPv6 address, and names and passwords of any characters', () => {
    const { options } = readDatabaseUrl({
      databaseUrl: 'postgres://us%40er:p%2F%3F%25@[::1]:5433/t%C3%A4sks',
    })
    const { host, port, user, pass, database } = postgres(options).options
    expect({ host, port, user, pass, database }).toEqual({
      host: ['::1'],
      port: [5433],
      user: 'us@er',
      pass: 'p/?%',
      database: 'täsks',
    })
  })

  const socket = (directory: string, port = 5432) => ({
    host: directory.includes(':') ? [directory] : directory,
    path: `${directory}/.s.PGSQL.${port}`,
    ssl: false,
  })
  const login = (username: string, database: string, password = '') => ({ username, password, database })

  // Examples of libpq's documentation, 34.1.1.2 Connection URIs.
  test.for([
    ['postgres://user@/db?host=/cloudsql/p:r:i', { ...socket('/cloudsql/p:r:i'), ...login('user', 'db') }],
    ['postgres://user:p@ss@/db?host=/tmp', { ...socket('/tmp'), ...login('user', 'db', 'p@ss') }],
    ['postgres://user@%2Ftmp:5433/db', { ...socket('/tmp', 5433), ...login('user', 'db') }],
    ['postgres://user@%2Fcloudsql%2Fp%3Ar%3Ai/db', { ...socket('/cloudsql/p:r:i'), ...login('user', 'db') }],
    ['postgres://user@localhost/db?host=/tmp&port=5433', { ...socket('/tmp', 5433), ...login('user', 'db') }],
    ['postgres:///db?host=/tmp&user=a&password=b%2Bc+d', { ...socket('/tmp'), ...login('a', 'db', 'b+c+d') }],
    ['postgresql://?host=/tmp&user=a&dbname=x%20y', { ...socket('/tmp'), ...login('a', 'x y') }],
    ['postgres://u:p%23%3F@host?port=1', { host: 'host', port: 1, ...login('u', '', 'p#?') }],
    ['postgres://u@host:5433/db?user=other&dbname=z', { host: 'host', port: 5433, ...login('other', 'z') }],
    ['postgres://u@h/db?user=me@corp\n', { host: 'h', port: 5432, ...login('me@corp', 'db') }],
    ['POSTGRES://u:a:b@h/db', { host: 'h', port: 5432, ...login('u', 'db', 'a:b') }],
    ['postgres://u:p#s@h/db', { host: 'h', port: 5432, ...login('u', 'db', 'p#s') }],
  ] as const)('%s', ([databaseUrl, expected]) => {
    const { options, unused } = readDatabaseUrl({ databaseUrl })
    expect({ options, unused }).toMatchObject({ options: expected, unused: [] })
  })

  test.each([
    ['postgres://u:secret@/db', 'DATABASE_URL: names no host; give localhost, or ?host=/var/run/postgresql'],
    ['postgres:///db', 'DATABASE_URL: names no host; give'],
    ['postgres://u:secret@/cloudsql/p:r:i/db', 'DATABASE_URL: names no host; give'],
    ['postgres://u:secret@one:1,two:2/db', 'DATABASE_URL: names several hosts; give one'],
    ['postgres://u:secret@one,two/tasks', 'DATABASE_URL: names several hosts; give one'],
    ['postgres://u:secret@[/', 'DATABASE_URL must look like'],
    ['postgres://u:secret%@h/', 'DATABASE_URL must look like'],
    ['postgres://u:secret@/db?host=/a,/b', 'DATABASE_URL: names several hosts; give one'],
    [
      'postgres://u:secret@/db?host=@name',
      'DATABASE_URL: names an abstract socket; give the directory of one',
    ],
    [`postgres://u:secret@/db?host=/${'x'.repeat(107)}`, "DATABASE_URL: its socket's directory is longer"],
    ['postgres://u:secret@/db?host=/tmp&port=x', 'database?host=/its/directory'],
    ['postgres://u:secret@h:0/db', 'DATABASE_URL must look like postgres://user:password@host:5432/database'],
    ['postgres://u:sec/ret@h/db', 'DATABASE_URL must look like'],
    ['host=/tmp dbname=secret', 'DATABASE_URL must look like'],
  ])('%s is refused in one line with an example', (databaseUrl, line) => {
    expect(() => readDatabaseUrl({ databaseUrl })).toThrow(StartError)
    expect(() => readDatabaseUrl({ databaseUrl })).toThrow(line)
    expect(() => readDatabaseUrl({ databaseUrl })).not.toThrow(/secret|sec\/ret|\n/)
  })

  test.each([
    ['sslmode=verify', 'DATABASE_URL: sslmode "verify" is not usable; give one of disable,'],
    ['sslmode=verify-ca', 'DATABASE_URL: sslmode=verify-ca needs a CA; give sslrootcert or DATABASE_CA'],
    [
      'sslmode=prefer&sslrootcert=/ca.pem',
      'DATABASE_URL: sslrootcert: is given, but sslmode=prefer checks no',
    ],
    ['sslmode=require&sslrootcert=system', 'DATABASE_URL: sslrootcert=system beside sslmode=require checks'],
    [
      'sslrootcert=/nowhere/ca.pem',
      'DATABASE_URL: sslrootcert: /nowhere/ca.pem cannot be read (ENOENT); give',
    ],
    [
      `sslrootcert=${import.meta.filename}`,
      `DATABASE_URL: sslrootcert: ${import.meta.filename} holds no cert`,
    ],
    ['sslkey=/nowhere/key.pem&sslmode=require', 'DATABASE_URL: sslkey: /nowhere/key.pem cannot be read'],
  ])('%s is refused in one line', (query, line) => {
    expect(() => read(query)).toThrow(StartError)
    expect(() => read(query)).toThrow(line)
    expect(() => read(query)).not.toThrow(/secret|\n/)
  })
})

function hasOpenssl() {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A server that demands TLS, with a certificate of its own CA for localhost only. */
describe.skipIf(!hasOpenssl())('a server with a certificate of its own CA', () => {
  let directory: string
  let server: PostgresCluster
  const file = (name: string) => join(directory, name)

  beforeAll(async () => {
    directory = await temporaryDirectory()
    const openssl = (...parameters: string[]) =>
      execFileSync('openssl', parameters, { cwd: directory, stdio: 'pipe' })
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
    for (const name of ['ca', 'other-ca']) {
      openssl('req', '-x509', ...key, '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`)
    }
    for (const [name, alternative] of [
      ['server', 'DNS:localhost'],
      ['client', 'DNS:client'],
    ] as const) {
      await writeFile(file(`${name}.ext`), `subjectAltName=${alternative}\n`)
      const subject = name === 'client' ? '/CN=tasks' : '/CN=server'
      openssl('req', ...key.slice(0, 5), '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject)
      const signing = 'x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 2'
      const files = `-in ${name}.csr -out ${name}.pem -extfile ${name}.ext`
      openssl(...`${signing} ${files}`.split(' '))
    }
    const user = await findServerUser(undefined)
    for (const name of ['server.key', 'server.pem', 'ca.pem']) {
      await copyFile(file(name), file(`of-server-${name}`))
      await chmod(file(`of-server-${name}`), 0o600)
      if (user) await chown(file(`of-server-${name}`), user.uid, user.gid)
    }
    server = await startPostgresCluster({
      parameters: {
        ssl: 'on',
        ssl_cert_file: file('of-server-server.pem'),
        ssl_key_file: file('of-server-server.key'),
        ssl_ca_file: file('of-server-ca.pem'),
      },
      access: [
        'hostssl tasks tasks 127.0.0.1/32 scram-sha-256',
        'hostssl cert tasks 127.0.0.1/32 cert',
        'hostnossl plain tasks 127.0.0.1/32 scram-sha-256',
      ].join('\n'),
    })
    await server.query('create database cert owner tasks')
    await server.query('create database plain owner tasks')
  })
  afterAll(async () => {
    await server?.remove()
    await rm(directory, { recursive: true, force: true })
  })

  /** Returns whether the connection has TLS, or the code of its failure. */
  async function connected(query: string, { host = 'localhost', database = 'tasks', ca = '' } = {}) {
    const url = new URL(
      server.url(query.replaceAll('DIR', encodeURIComponent(directory)), { host, port: server.port }),
    )
    url.pathname = `/${database}`
    const { options } = readDatabaseUrl({ databaseUrl: url.href, databaseCa: ca ? file(ca) : undefined })
    const sql = postgres({ ...valueOptions, ...options, max: 1 })
    try {
      const [row] = await sql<[{ ssl: boolean }]>`select ssl from pg_stat_ssl where pid = pg_backend_pid()`
      return row.ssl ? 'TLS' : 'plain'
    } catch (error) {
      const code = (error as { code?: string }).code ?? String(error)
      // Depends on whether the server sends its CA, too.
      return /^(SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/.test(code) ? 'untrusted' : code
    } finally {
      await sql.end({ timeout: 1 })
    }
  }

  test.each([
    ['', {}, 'TLS'],
    ['sslmode=disable', {}, '28000'],
    ['sslmode=disable', { database: 'plain' }, 'plain'],
    ['sslmode=prefer', {}, 'TLS'],
    ['sslmode=allow', {}, 'TLS'],
    ['sslmode=require', {}, 'TLS'],
    ['ssl=true', {}, 'TLS'],
    ['sslmode=require', { host: '127.0.0.1' }, 'TLS'],
    ['sslmode=require&sslrootcert=DIR/ca.pem', { host: '127.0.0.1' }, 'TLS'],
    ['sslmode=require&sslrootcert=DIR/other-ca.pem', {}, 'untrusted'],
    ['sslmode=verify-ca&sslrootcert=DIR/ca.pem', {}, 'TLS'],
    ['sslmode=verify-ca&sslrootcert=DIR/ca.pem', { host: '127.0.0.1' }, 'TLS'],
    ['sslmode=verify-ca&sslrootcert=DIR/other-ca.pem', {}, 'untrusted'],
    ['sslmode=verify-full&sslrootcert=DIR/ca.pem', {}, 'TLS'],
    ['sslmode=verify-full', { ca: 'ca.pem' }, 'TLS'],
    ['', { ca: 'ca.pem' }, 'TLS'],
    ['sslmode=verify-full&sslrootcert=DIR/ca.pem', { host: '127.0.0.1' }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['', { ca: 'ca.pem', host: '127.0.0.1' }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['sslmode=verify-full&sslrootcert=DIR/other-ca.pem', {}, 'untrusted'],
    ['sslmode=verify-full', {}, 'untrusted'],
    ['sslmode=require&sslcert=DIR/client.pem&sslkey=DIR/client.key', { database: 'cert' }, 'TLS'],
    ['sslmode=require', { database: 'cert' }, '28000'],
  ])('%s %o: %s', async (query, options, wanted) => {
    expect(await connected(query, options)).toBe(wanted)
  })

  test('statements are cancelled over TLS', async () => {
    const database = createDatabase(
      connectTo(server.url('sslmode=verify-full', { host: 'localhost', port: server.port }), {
        databaseCa: file('ca.pem'),
        databasePrepare: true,
      }),
      { poolSize: 1, timeoutMs: 60_000 },
    )
    const [{ pid }] = await database.run((sql) => sql<[{ pid: number }]>`select pg_backend_pid() pid`)
    await expect(database.run((sql) => sql`select pg_sleep(60)`, { timeoutMs: 200 })).rejects.toThrow(
      DeadlineError,
    )
    // Without a cancellation the server would sleep on, whether or not its client is gone.
    await expect
      .poll(() => database.run((sql) => sql`select from pg_stat_activity where pid = ${pid}`), {
        timeout: 20_000,
      })
      .toHaveLength(0)
    await database.close()
  })

  test('a start that can never reach it is refused in one line, and npm run migrate as well', async () => {
    const url = server.url('sslmode=verify-full', { host: 'localhost', port: server.port })
    const environment = {
      DATABASE_URL: url,
      JWT_SECRET: 'x'.repeat(32),
      DATA_DIR: directory,
      DATABASE_CA: file('other-ca.pem'),
    }
    for (const entry of ['dist/api.js', 'dist/migrate.js']) {
      const program = startProgram([process.execPath, entry], { environment })
      const [code] = await once(program.child, 'close')
      expect({ code, lines: program.lines }).toEqual({
        code: 1,
        lines: [{ text: expect.stringMatching(/certificate/) }],
      })
    }
    const { DATABASE_CA: _, ...without } = environment
    const migrated = startProgram([process.execPath, 'dist/migrate.js'], {
      environment: { ...without, DATABASE_CA: file('ca.pem') },
    })
    expect(await once(migrated.child, 'close')).toEqual([0, null])
  })
})

describe('the checks of a start', () => {
  let server: PostgresCluster
  beforeAll(async () => {
    server = await startPostgresCluster({
      access: ['local all tasks scram-sha-256', 'host all all 127.0.0.1/32 scram-sha-256'].join('\n'),
    })
    await migrateDatabase(server.url())
  })
  afterAll(() => server?.remove())

  async function inspect(databaseUrl: string, { prepare = true } = {}) {
    const { options } = readDatabaseUrl({ databaseUrl })
    const warnings: string[] = []
    const log = { debug() {}, info() {}, error() {}, warn: (message: string) => warnings.push(message) }
    const open = (own: object) => postgres({ ...valueOptions, ...options, ...own }) as unknown as postgres.Sql
    await inspectServer(open, { prepare, statementMs: 10_000, log })
    return warnings
  }

  test('a socket, in every form of libpq', async () => {
    const { directory, port } = server
    const user = `tasks:${encodeURIComponent(password)}`
    const secret = `password=${encodeURIComponent(password)}`
    for (const url of [
      `postgres://${user}@/tasks?host=${directory}&port=${port}`,
      `postgres://${user}@${encodeURIComponent(directory)}:${port}/tasks`,
      `postgres://?host=${encodeURIComponent(directory)}&port=${port}&user=tasks&${secret}&dbname=tasks`,
    ])
      expect(await inspect(url)).toEqual([])
  })

  test('find nothing wrong with a proper server', async () => {
    expect(await inspect(server.url())).toEqual([])
  })

  test.each([
    ['password', /:[^:@]+@/, ':hunter2@'],
    ['database', /tasks$/, 'nothing'],
  ])('refuse a wrong %s', async (name, part, wrong) => {
    const refusal = inspect(server.url().replace(part, wrong))
    await expect(refusal).rejects.toThrow(StartError)
    await expect(refusal).rejects.toThrow(`the server refuses it: ${name}`)
    await expect(refusal).rejects.not.toThrow('hunter2')
  })

  test('refuse a server without TLS if sslmode demands it', async () => {
    await expect(inspect(server.url('sslmode=require'))).rejects.toThrow(
      /^DATABASE_URL: the server takes no TLS; .* sslmode$/,
    )
  })

  test('go on if a server is away, silent or closes at once', async () => {
    const away = server.url('', { host: '127.0.0.1', port: 1 })
    expect(await inspect(away)).toEqual(['the database is not ready yet'])
    const silent = createServer(() => {})
    const port = await listenOnLoopback(silent)
    const url = (parameters: string) => server.url(parameters, { host: '127.0.0.1', port })
    for (const sslmode of ['disable', 'require'])
      expect(await inspect(url(`connect_timeout=1&sslmode=${sslmode}`))).toEqual([
        'the database is not ready yet',
      ])
    silent.close()
  })

  test.skipIf(!hasPgBouncer)(
    'ask for DATABASE_PREPARE=off if a pooler does not support prepared statements',
    async () => {
      const pooler = await startPgBouncer(server)
      await expect(inspect(pooler.url())).rejects.toThrow(/^DATABASE_PREPARE: .* give off$/)
      expect(await inspect(pooler.url(), { prepare: false })).toEqual([])
      await pooler.stop()
      // With one connection behind the pooler everything works.
      const narrow = await startPgBouncer(server, { poolSize: 1 })
      expect(await inspect(narrow.url())).toEqual([])
      await narrow.stop()
    },
  )
})
