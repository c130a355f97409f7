/** Debian's PgBouncer 1.18, without support for prepared statements, in transaction mode before a server. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chown, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { findServerUser, spawnAs } from '../../src/runtime/embedded-postgres/user.ts'
import { temporaryDirectory } from './directories.ts'
import { findFreePort } from './ports.ts'
import { type PostgresCluster, password, role } from './postgres-cluster.ts'

const program = ['/usr/sbin/pgbouncer', '/usr/bin/pgbouncer'].find((path) => existsSync(path))
export const hasPgBouncer = program !== undefined

export async function startPgBouncer(server: Pick<PostgresCluster, 'port' | 'url'>, { poolSize = 10 } = {}) {
  if (!program) throw new Error('there is no pgbouncer: apt-get install pgbouncer')
  const user = await findServerUser(undefined)
  const directory = await temporaryDirectory()
  const port = await findFreePort()
  const users = join(directory, 'users.txt')
  const settings = join(directory, 'pgbouncer.ini')
  await writeFile(users, [role, 'tasks_app'].map((name) => `"${name}" "${password}"\n`).join(''))
  await writeFile(
    settings,
    `[databases]
* = host=127.0.0.1 port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 500
server_login_retry = 1
`,
  )
  if (user) for (const file of [directory, users, settings]) await chown(file, user.uid, user.gid)
  const child = spawn(program, [settings], { ...spawnAs(user), stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said = (said + chunk).slice(-10_000)
  })
  const exited = once(child, 'exit')
  const url = (parameters?: string) => server.url(parameters, { host: '127.0.0.1', port })
  const answers = async () => {
    const sql = postgres(url(), { max: 1, prepare: false, fetch_types: false, connect_timeout: 5 })
    return sql`select 1`
      .then(
        () => true,
        () => false,
      )
      .finally(() => sql.end({ timeout: 1 }))
  }
  while (!(await answers())) {
    if (child.exitCode !== null) throw new Error(`pgbouncer does not start: ${said}`)
    await sleep(50)
  }
  return {
    port,
    url,
    async stop() {
      child.kill('SIGKILL')
      await exited
      await rm(directory, { recursive: true, force: true })
    },
  }
}
