/**
 * A real Postgres for tests that kill and restart it, or make a standby: the packaged version, or Debian's
 * older one.
 */
import { existsSync } from 'node:fs'
import { chown, cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { findNative, prepareNative } from '../../src/runtime/embedded-postgres/native.ts'
import { findServerUser, startProgram } from '../../src/runtime/embedded-postgres/user.ts'
import type { BoundChild } from '../../src/runtime/process/bound-child.ts'
import { root, temporaryDirectory } from './directories.ts'
import { findFreePort } from './ports.ts'

export const role = 'tasks'
export const password = 'the role has this password'
/** Debian's Postgres, or another folder with bin. */
const installedPrograms = process.env.TEST_POSTGRES ?? '/usr/lib/postgresql/15'

type Options = {
  /** Debian's Postgres 15, or that of the folder TEST_POSTGRES, instead of the packaged one. */
  installed?: boolean
  /** Override ours, which turn syncing off. */
  parameters?: Record<string, string>
  /** Lines of pg_hba.conf for clients by TCP. */
  access?: string
}

export type PostgresCluster = Awaited<ReturnType<typeof startPostgresCluster>>

export async function startPostgresCluster({
  installed = false,
  parameters = {},
  access = 'host all all 127.0.0.1/32 scram-sha-256',
}: Options = {}) {
  if (installed && !existsSync(installedPrograms))
    throw new Error(`there is no Postgres in ${installedPrograms}: apt-get install postgresql-15`)
  const user = await findServerUser(undefined)
  const directory = await temporaryDirectory()
  const copies = async () => directory
  const programs = installed ? installedPrograms : await prepareNative(await findNative(root), user, copies)
  const giveTo = async (path: string) => user && chown(path, user.uid, user.gid)
  const own = { directory, programs, user, parameters, giveTo }

  await giveTo(directory)
  const data = join(directory, 'data')
  await mkdir(data, { mode: 0o700 })
  await giveTo(data)
  const options = ['-D', data, '-U', 'postgres', '--encoding=UTF8', '--locale=C', '--no-sync', '--auth=trust']
  const made = startProgram([join(programs, 'bin/initdb'), ...options], user, { output: 'pipe' })
  const said = printed(made)
  if ((await made.exited) !== 'exit code 0') throw new Error(`initdb failed: ${said()}`)
  const lines = ['local all postgres trust', 'host replication postgres 127.0.0.1/32 trust', access, '']
  await writeFile(join(data, 'pg_hba.conf'), lines.join('\n'))
  const cluster = await launch(own, data)
  await cluster.query(`create role ${role} login createdb password '${password}'`)
  await cluster.query(`create database tasks owner ${role}`)
  const standbys: (typeof cluster)[] = []
  return {
    ...cluster,
    directory,
    /** Starts a streaming hot standby. The server stops for a moment. */
    async makeStandby() {
      const copy = join(directory, `standby${standbys.length + 1}`)
      await cluster.stop()
      await cp(data, copy, { recursive: true })
      for (const file of ['.', ...(await readdir(copy, { recursive: true }))]) await giveTo(join(copy, file))
      await cluster.start()
      const source = `host=127.0.0.1 port=${cluster.port} user=postgres`
      await writeFile(join(copy, 'postgresql.auto.conf'), `primary_conninfo = '${source}'\n`)
      await writeFile(join(copy, 'standby.signal'), '')
      const standby = await launch(own, copy)
      standbys.push(standby)
      return standby
    },
    async remove() {
      for (const server of [cluster, ...standbys]) await server.kill()
      await rm(directory, { recursive: true, force: true, maxRetries: 10 })
    },
  }
}

type Own = {
  directory: string
  programs: string
  user: Awaited<ReturnType<typeof findServerUser>>
  parameters: Record<string, string>
  giveTo: (path: string) => Promise<unknown>
}

async function launch({ directory, programs, user, parameters }: Own, data: string) {
  const port = await findFreePort()
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: directory,
    port: String(port),
    fsync: 'off',
    full_page_writes: 'off',
    max_connections: '200',
    ...parameters,
  }
  let server: BoundChild | undefined

  /** As the superuser, on a connection of its own. */
  async function query<T extends object>(statement: string, database = 'postgres'): Promise<T[]> {
    const options = { host: directory, port, database, username: 'postgres', max: 1, connect_timeout: 5 }
    const sql = postgres({ ...options, onnotice: () => {}, fetch_types: false })
    return sql.unsafe<T[]>(statement).finally(() => sql.end({ timeout: 1 }))
  }

  async function start() {
    const values = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const deadline = Date.now() + 60_000
    for (;;) {
      const command = [join(programs, 'bin/postgres'), '-D', data, ...values] as const
      server = startProgram([...command], user, { output: 'pipe' })
      const said = printed(server)
      while (!server.hasExited()) {
        if (await query('select 1').catch(() => undefined)) return
        await sleep(20)
      }
      // Sessions of a killed server may still be ending.
      if (!said().includes('pre-existing shared memory block') || Date.now() > deadline)
        throw new Error(`the server in ${data} does not start: ${said()}`)
      await sleep(50)
    }
  }

  async function stop(signal: NodeJS.Signals = 'SIGINT') {
    const pid = await readFile(join(data, 'postmaster.pid'), 'utf8').then(
      (text) => Number.parseInt(text, 10),
      () => undefined,
    )
    if (!server || pid === undefined) return
    process.kill(pid, signal)
    await server.exited
    server = undefined
  }

  await start()
  return {
    port,
    /** A DATABASE_URL of the role that owns the database; `parameters` come after the question mark. */
    url: (parameters = '', at = { host: '127.0.0.1', port }) =>
      `postgres://${role}:${encodeURIComponent(password)}@${at.host}:${at.port}/tasks${parameters && `?${parameters}`}`,
    query,
    start,
    stop: () => stop(),
    kill: () => stop('SIGKILL'),
  }
}

/** The end of the server's output, which must be read, or the server would block. */
function printed({ child }: BoundChild): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk) => {
      text = (text + chunk).slice(-10_000)
    })
  }
  return () => text
}
