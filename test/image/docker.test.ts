/**
 * The Dockerfile and docker-compose.yml without an engine. Each service's own command runs on this machine,
 * as an ordinary user, with the environment that Compose gives its container; only host names and ports
 * differ.
 */
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { parse } from 'yaml'
import { createClient, taskPath } from '../support/client.ts'
import { root } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type Program, startProgram } from '../support/processes.ts'

type Service = {
  command?: string[]
  environment: Record<string, string | null>
  healthcheck: { test: string[] }
  ports?: string[]
}

const run = promisify(execFile)
const secretNames = [
  'DATABASE_PASSWORD',
  'POSTGRES_PASSWORD',
  'REDIS_PASSWORD',
  'JWT_SECRET',
  'NOTIFIER_SECRET_ACCESS_KEY',
]
const secretOf = (name: string) => `${name.toLowerCase().replaceAll('_', '-')}-only-the-tests-know-0123456789`
const dockerfile = readFileSync(join(root, 'Dockerfile'), 'utf8')
const instruction = (pattern: RegExp) => pattern.exec(dockerfile)?.[1] ?? ''
const image = {
  command: JSON.parse(instruction(/^CMD (.*)$/m)) as string[],
  environment: Object.fromEntries(
    instruction(/^ENV (.*)$/m)
      .split(' ')
      .map((pair) => pair.split('=')),
  ) as Record<string, string>,
}
/** User ids of `nobody`. */
const nobody = 65534

let directory: string
let app: string
let server: TestPostgres
let ports: Record<'postgres' | 'redis' | 'notifier' | 'api', number>
let services: Record<string, Service>

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'task-api-image-'))
  await chmod(directory, 0o755)
  app = join(directory, 'app')
  server = await startTestPostgres()
  ports = {
    postgres: Number(new URL(server.url()).port),
    redis: await findFreePort(),
    notifier: await findFreePort(),
    api: await findFreePort(),
  }
  services = await readCompose()
})
afterAll(async () => {
  await server?.stop()
  await rm(directory, { recursive: true, force: true })
})

test('every path that the Dockerfile copies exists, and is let into the context', () => {
  const ignore = readFileSync(join(root, '.dockerignore'), 'utf8').split('\n')
  expect(ignore.filter((line) => line && !/^[#!]/.test(line))).toEqual(['*'])
  const copies = [...dockerfile.matchAll(/^COPY (?!--)(.*) \S+$/gm)].flatMap(([, paths = '']) =>
    paths.split(' '),
  )
  expect(copies.length).toBeGreaterThan(5)
  for (const path of copies) {
    expect(existsSync(join(root, path)), path).toBe(true)
    expect(ignore).toContain(`!${path}`)
  }
  expect(dockerfile).toMatch(/^USER node$/m)
})

test('a service gets only its own secrets, none of them in a command, and publishes ports on loopback alone', () => {
  const seen = (value: unknown) =>
    secretNames.filter((name) => JSON.stringify(value ?? '').includes(secretOf(name)))
  expect(
    Object.fromEntries(Object.entries(services).map(([name, service]) => [name, seen(service)])),
  ).toEqual({
    postgres: ['DATABASE_PASSWORD', 'POSTGRES_PASSWORD'],
    redis: ['REDIS_PASSWORD'],
    migrate: ['DATABASE_PASSWORD'],
    notifier: ['NOTIFIER_SECRET_ACCESS_KEY'],
    api: ['DATABASE_PASSWORD', 'REDIS_PASSWORD', 'JWT_SECRET', 'NOTIFIER_SECRET_ACCESS_KEY'],
  })
  for (const { command, healthcheck, ports = [] } of Object.values(services)) {
    expect(seen([command, healthcheck])).toEqual([])
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/)
  }
  expect(readFileSync(join(root, 'deploy/docker/create-role.sh'), 'utf8')).not.toContain('$DATABASE_PASSWORD')
})

test('every service starts by its own command, is healthy, and ends at SIGTERM', async ({
  onTestFinished,
}) => {
  const started: Program[] = []
  onTestFinished(() => {
    for (const { child } of started) child.kill('SIGKILL')
  })
  function start(name: string) {
    const program = startProgram(commandOf(name), { cwd: app, environment: environmentOf(name) })
    started.push(program)
    return program
  }
  const becomeHealthy = (name: string) =>
    vi.waitFor(() => expect(isHealthy(name)).toBe(true), { timeout: 60_000, interval: 500 })

  await installApp()
  await createRole()
  for (const name of ['redis', 'notifier', 'api']) expect(isHealthy(name), name).toBe(false)
  const redis = start('redis')
  await becomeHealthy('redis')
  const migrate = start('migrate')
  await migrate.line(({ text }) => /^up to date at /.test(text ?? ''))
  const notifier = start('notifier')
  await becomeHealthy('notifier')
  const api = start('api')
  await becomeHealthy('api')

  const client = createClient({ baseUrl: `http://127.0.0.1:${ports.api}`, addressHeader: 'X-Forwarded-For' })
  const { token } = await client.register()
  const task = await client.createTask(token)
  await client.request('PATCH', taskPath(task), { token, json: { status: 'completed' } })
  await notifier.line(({ message, task_id }) => message === 'task completed' && task_id === task.id)
  expect((await client.request('GET', '/readyz')).body).toEqual({ status: 'ready' })
  expect((await client.request('GET', '/docs')).status).toBe(200)
  const [program, ...args] = asOrdinaryUser(['node', 'dist/doctor.js', '--json'])
  const doctor = await run(program, args, { cwd: app, env: environmentOf('api') })
  expect(JSON.parse(doctor.stdout)).toMatchObject({ failed: 0 })
  // A host shows the arguments of every process to all its users.
  const shown = execFileSync('ps', ['-o', 'args=', '-p', started.map(({ child }) => child.pid).join()], {
    encoding: 'utf8',
  })
  expect(shown).toContain('redis-server')
  for (const name of secretNames) expect(shown).not.toContain(secretOf(name))

  for (const program of [api, notifier, redis]) expect(await program.stop('SIGTERM')).toBe(0)
})

/** Compose itself merges and interpolates. */
async function readCompose(): Promise<Record<string, Service>> {
  const env = join(directory, 'env')
  await writeFile(env, secretNames.map((name) => `${name}=${secretOf(name)}\n`).join(''))
  const { stdout } = await run('docker-compose', ['--env-file', env, 'config'], { cwd: root })
  const here = stdout
    .replace(
      /(?<=[/@])(postgres|redis|notifier):\d+/g,
      (_, name: keyof typeof ports) => `127.0.0.1:${ports[name]}`,
    )
    .replace('127.0.0.1:3001', `127.0.0.1:${ports.notifier}`)
    .replace('redis-server -', `redis-server - --port ${ports.redis} --bind 127.0.0.1 --dir ${directory}`)
    .replace('redis-cli', `redis-cli -p ${ports.redis}`)
    .replaceAll('$$', '$')
  return parse(here).services
}

/** The files of the image: the bundles, and the packages that the Dockerfile installs. */
async function installApp() {
  await mkdir(app)
  for (const path of ['package.json', 'package-lock.json', 'sql', 'dist'])
    await cp(join(root, path), join(app, path), { recursive: true })
  await run('sh', ['-c', instruction(/^RUN (npm ci --omit=dev .*)$/m)], { cwd: app, maxBuffer: 2 ** 26 })
}

/**
 * Runs the script with the variables that the postgres image sets. The embedded server has a role of that
 * name.
 */
async function createRole() {
  const password = readFileSync(join(server.dataDirectory, 'postgres-superuser-password'), 'utf8').trim()
  const at = { host: '127.0.0.1', port: ports.postgres, username: 'postgres', password, database: 'postgres' }
  const admin = postgres({ ...at, max: 1 })
  await admin`alter role task_api rename to embedded_task_api`
  await admin`drop database task_api`
  await admin`create database task_api owner postgres`
  const env = { PGHOST: at.host, PGPORT: String(at.port), PGPASSWORD: password, ...environmentOf('postgres') }
  await run(join(root, 'deploy/docker/create-role.sh'), { env })
  const [role] = await admin`select rolsuper from pg_roles where rolname = 'task_api'`
  await admin.end()
  expect(role).toEqual({ rolsuper: false })
}

function environmentOf(name: string): Record<string, string> {
  const given = Object.entries(services[name]?.environment ?? {}).flatMap(([key, value]) =>
    value === null ? [] : [[key, value]],
  )
  return {
    PATH: process.env.PATH ?? '',
    ...image.environment,
    ...Object.fromEntries(given),
    HOST: '127.0.0.1',
    PORT: String(ports.api),
    NOTIFIER_HOST: '127.0.0.1',
    NOTIFIER_PORT: String(ports.notifier),
  }
}

const commandOf = (name: string) => asOrdinaryUser(services[name]?.command ?? image.command)

function asOrdinaryUser(command: string[]): [string, ...string[]] {
  const user =
    process.getuid?.() === 0 ? ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'] : []
  const [program = '', ...args] = [
    ...user,
    ...command.map((part) => (part === 'node' ? process.execPath : part)),
  ]
  return [program, ...args]
}

function isHealthy(name: string): boolean {
  const [kind, ...check] = services[name]?.healthcheck.test ?? []
  const [program = '', ...args] = kind === 'CMD-SHELL' ? ['sh', '-c', ...check] : check
  return spawnSync(program, args, { env: environmentOf(name) }).status === 0
}
