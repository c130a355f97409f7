/** docker-compose.yml's passwords: whoever sees a host's processes sees their arguments, so they are in none. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { environmentOf, readCompose } from '../support/compose.ts'
import { root } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { startTestPostgres } from '../support/postgres.ts'

const secrets = {
  DATABASE_PASSWORD: "database-only-the-tests-know ' it",
  POSTGRES_PASSWORD: 'postgres-only-the-tests-know',
  REDIS_PASSWORD: 'redis-only-the-tests-know',
  JWT_SECRET: 'jwt-only-the-tests-know-0123456789abcdef',
  NOTIFIER_SECRET_ACCESS_KEY: 'notifier-only-the-tests-know',
}
let directory: string
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'task-api-secrets-'))
})
afterAll(() => rm(directory, { recursive: true, force: true }))

test('no command and no health check has a secret in it', async () => {
  for (const { command, healthcheck } of Object.values(await readCompose(secrets)))
    for (const secret of Object.values(secrets))
      expect(JSON.stringify([command, healthcheck])).not.toContain(secret)
})

test('Redis starts by its own command, asks for its password, has none in its arguments, and ends at SIGTERM', async ({
  onTestFinished,
}) => {
  const { redis = {} } = await readCompose(secrets)
  const port = String(await findFreePort())
  // Only what says where it is differs from the container.
  const here = (part: string) =>
    part
      .replace('redis-server -', `redis-server - --port ${port} --bind 127.0.0.1 --dir ${directory}`)
      .replace('redis-cli', `redis-cli -p ${port}`)
  const environment = { PATH: process.env.PATH, ...environmentOf(redis) }
  const [program = '', ...args] = (redis.command ?? []).map(here)
  const child = spawn(program, args, { env: environment, stdio: 'ignore' })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [, check = ''] = redis.healthcheck?.test ?? []
  const healthy = (env: NodeJS.ProcessEnv) => spawnSync('sh', ['-c', here(check)], { env }).status === 0
  await vi.waitFor(() => expect(healthy(environment)).toBe(true), { timeout: 60_000, interval: 100 })
  expect(healthy({ PATH: process.env.PATH })).toBe(false)
  const setting = (name: string) =>
    spawnSync('redis-cli', ['-p', port, 'config', 'get', name], { env: environment, encoding: 'utf8' })
  expect(setting('save').stdout.trim()).toBe('save')
  expect(setting('appendonly').stdout).toBe('appendonly\nno\n')
  expect(setting('maxmemory').stdout).toBe(`maxmemory\n${128 * 1024 * 1024}\n`)
  expect(setting('maxmemory-policy').stdout).toBe('maxmemory-policy\nvolatile-ttl\n')
  const shown = spawnSync('ps', ['-o', 'args=', '-p', String(child.pid)], { encoding: 'utf8' }).stdout
  expect(shown).toContain('redis-server')
  expect(shown).not.toContain(secrets.REDIS_PASSWORD)
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await exited).toEqual([0, null])
})

test('the role is made with its password, which psql does not get as an argument', async ({
  onTestFinished,
}) => {
  const server = await startTestPostgres()
  onTestFinished(() => server.stop())
  const superuser = (await readFile(join(server.dataDirectory, 'postgres-superuser-password'), 'utf8')).trim()
  const port = new URL(server.url()).port
  const at = { host: '127.0.0.1', port: Number(port), max: 1 }
  const admin = postgres({ ...at, username: 'postgres', password: superuser, database: 'postgres' })
  await admin`alter role task_api rename to embedded_task_api`
  await admin`drop database task_api`
  await admin`create database task_api owner postgres`
  await admin.end()

  // Keeps its arguments, then is psql.
  const shim = join(directory, 'psql')
  const real = spawnSync('sh', ['-c', 'command -v psql'], { encoding: 'utf8' }).stdout.trim()
  const seen = join(directory, 'arguments')
  await writeFile(shim, `#!/bin/sh\nprintf '%s\\n' "$@" >> '${seen}'\nexec '${real}' "$@"\n`, { mode: 0o755 })
  const { DATABASE_PASSWORD = '' } = environmentOf((await readCompose(secrets)).postgres ?? {})
  const env = {
    PATH: `${directory}:${process.env.PATH}`,
    PGHOST: '127.0.0.1',
    PGPORT: port,
    PGPASSWORD: superuser,
    POSTGRES_USER: 'postgres',
    POSTGRES_DB: 'task_api',
    DATABASE_PASSWORD,
  }
  await promisify(execFile)(join(root, 'deploy/docker/create-role.sh'), { env })
  const shown = await readFile(seen, 'utf8')
  expect(shown).toContain('postgres')
  expect(shown).not.toContain(secrets.DATABASE_PASSWORD)
  const sql = postgres({ ...at, username: 'task_api', password: DATABASE_PASSWORD, database: 'task_api' })
  onTestFinished(() => sql.end())
  expect(await sql`select current_user::text as name`).toEqual([{ name: 'task_api' }])
})
