/** Postgres 15 and Redis for the benchmark, with a database for each target made from a template. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { startPostgresCluster } from '../../test/support/postgres-cluster.ts'
import { migrateDatabase } from '../../test/support/processes.ts'
import { startTestRedis } from '../../test/support/redis.ts'
import type { AtEnd } from '../run-bench.ts'
import { fillDatabase, password, userCount } from './data.ts'
import { jwtSecret, startTarget, type Target, targets } from './targets.ts'
import { treeOf } from './usage.ts'

export type Services = Awaited<ReturnType<typeof startServices>>

/** Durability as by default. Checkpoints and autovacuum do not fall into a measurement. */
const parameters = {
  fsync: 'on',
  full_page_writes: 'on',
  max_connections: '300',
  shared_buffers: '512MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '30min',
  autovacuum_naptime: '10min',
  jit: 'off',
}

export const hasProgram = (name: string) => spawnSync('sh', ['-c', `command -v ${name}`]).status === 0

/** The target has the first core, everything else the others, unless the target has several processes. */
export async function startServices(atEnd: AtEnd, { processes }: { processes: number }) {
  if (process.platform !== 'linux') throw new Error('CPU time is read from /proc, which only Linux has')
  if (!hasProgram('redis-server')) throw new Error('there is no redis-server: apt-get install redis-server')
  const isPinned = processes === 1 && cpus().length > 1 && hasProgram('taskset')
  const cores = { target: '0', other: `1-${cpus().length - 1}` }

  const redis = await startTestRedis()
  atEnd(redis.stop)
  const cluster = await startPostgresCluster({ installed: true, parameters })
  atEnd(cluster.remove)
  // Where the embedded Postgres of another user may not look.
  const directory = join(cluster.directory, 'bench')
  await mkdir(directory)
  const postgresPid = Number.parseInt(
    readFileSync(join(cluster.directory, 'data/postmaster.pid'), 'utf8'),
    10,
  )
  const redisPid = Number(/process_id:(\d+)/.exec(String(await redis.ask(['INFO', 'server'])))?.[1])

  const urlOf = (database: string) => {
    const url = new URL(cluster.url())
    url.pathname = database
    return url.href
  }
  const databaseUrl = urlOf('bench')
  const template = (isOurs: boolean) => (isOurs ? 'ours' : 'peers')
  const recreate = async (name: string, from = 'template1') => {
    await cluster.query(`drop database if exists ${name} with (force)`)
    await cluster.query(`create database ${name} template ${from} strategy file_copy owner tasks`)
  }
  const services = {
    directory,
    databaseUrl,
    redisUrl: redis.url,
    postgresPid,
    redisPid,
    isPinned,
    pin: (command: [string, ...string[]], place: keyof typeof cores): [string, ...string[]] =>
      isPinned ? ['taskset', '-c', cores[place], ...command] : command,
    /** Access tokens of all users by their number. Ours live in the template's sessions. */
    tokens: { ours: [] as string[], peers: await mintTokens() },
    versions: async () => {
      const [server] = await cluster.query<{ server_version: string }>('show server_version')
      const [, redisVersion] = /redis_version:(\S+)/.exec(String(await redis.ask(['INFO', 'server']))) ?? []
      return { postgres: server?.server_version.split(' ')[0], redis: redisVersion }
    },
    /** A fresh database for a target, and an empty Redis. */
    async reset({ isOurs }: Pick<Target, 'isOurs'>) {
      await recreate('bench', template(isOurs))
      await cluster.query('checkpoint')
      await cluster.query('select count(*) from tasks', 'bench')
      await redis.ask(['FLUSHALL'])
    },
  }
  for (const isOurs of [true, false]) {
    const url = urlOf(template(isOurs))
    await recreate(template(isOurs))
    if (isOurs) await migrateDatabase(url)
    await fillDatabase(url, { isOurs })
    if (isOurs) services.tokens.ours = await logInAll({ ...services, databaseUrl: url })
  }
  if (isPinned) {
    for (const pid of [...treeOf(postgresPid), redisPid])
      spawnSync('taskset', ['-acp', cores.other, String(pid)])
  }
  return services
}

/** With the claims of @fastify/jwt, jsonwebtoken and simplejwt. */
const mintTokens = () =>
  Promise.all(
    Array.from({ length: userCount }, (_, index) =>
      new SignJWT({ token_type: 'access', user_id: index + 1 })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
        .setSubject(String(index + 1))
        .setJti(`bench-${index + 1}`)
        .setIssuedAt()
        .setExpirationTime('24h')
        .sign(new TextEncoder().encode(jwtSecret)),
    ),
  )

async function logInAll(services: Parameters<typeof startTarget>[1]): Promise<string[]> {
  const { cached } = targets
  if (!cached) throw new Error('no target is ours')
  const api = await startTarget(cached, { ...services, pin: (command) => command }, { processes: 1 })
  try {
    const tokens: string[] = []
    for (let user = 1; user <= userCount; user++) {
      const body = new URLSearchParams({ username: `user${user}`, password })
      const answer = await fetch(api.url + cached.paths.login, { method: 'POST', body })
      const { access_token } = (await answer.json()) as { access_token: string }
      tokens.push(access_token)
    }
    return tokens
  } finally {
    await api.stop()
  }
}
