/** The programs that are compared. Each is started alike, with its log in a file. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root } from '../../test/support/directories.ts'
import { findFreePort } from '../../test/support/ports.ts'
import { endProcess } from '../../test/support/processes.ts'
import type { Paths } from './scenarios.ts'
import type { Services } from './services.ts'
import { treeOf } from './usage.ts'

export const jwtSecret = 'only-for-benchmarks-0123456789abcdef0123456789abcdef'
export const peersDirectory = join(root, 'bench/peers')

export type Target = {
  title: string
  isOurs: boolean
  paths: Paths
  command: (options: { port: number; processes: number }) => [program: string, ...parameters: string[]]
  directory: string
  environment?: Record<string, string>
}

const peerPaths: Paths = {
  tasks: '/tasks',
  task: (id) => `/tasks/${id}`,
  list: (status) => `/tasks?status=${status}`,
  login: '/token',
}
const ourPaths: Paths = {
  tasks: '/api/tasks/',
  task: (id) => `/api/tasks/${id}/`,
  list: (status) => `/api/tasks/?status=${status}&limit=20`,
  login: '/api/token/',
}
const peer = { isOurs: false, paths: peerPaths, directory: peersDirectory }
const node = (...parameters: string[]) => {
  const command: [string, ...string[]] = [process.execPath, ...parameters]
  return () => command
}
const ours = {
  isOurs: true,
  paths: ourPaths,
  directory: root,
  command: node('--enable-source-maps', 'dist/api.js'),
}

/** The like-for-like peer, to which the others are compared. */
export const reference = 'fastify-full'

export const targets: Record<string, Target> = {
  fastify: { ...peer, title: 'Fastify + postgres.js', command: node('start.mjs', 'fastify') },
  [reference]: {
    ...peer,
    title: 'Fastify, like for like',
    command: node('start.mjs', 'fastify'),
    environment: { FULL: '1' },
  },
  express: { ...peer, title: 'Express + pg', command: node('start.mjs', 'express') },
  django: {
    ...peer,
    title: 'Django REST Framework',
    directory: join(peersDirectory, 'django'),
    environment: { PYTHONDONTWRITEBYTECODE: '1' },
    command: ({ port, processes }) => [
      '/usr/bin/python3',
      ...['-m', 'gunicorn', '--workers', String(processes), '--bind', `127.0.0.1:${port}`],
      ...['--log-level', 'warning', 'bench.wsgi'],
    ],
  },
  cached: { ...ours, title: 'this project, from its cache' },
  uncached: { ...ours, title: 'this project, from Postgres', environment: { CACHE: 'off' } },
}

/** Debian's packages for Django REST Framework. */
const djangoModules = [
  'gunicorn',
  'rest_framework',
  'rest_framework_simplejwt',
  'django_redis',
  'psycopg2',
  'bcrypt',
]
export const hasDjango = () =>
  spawnSync('/usr/bin/python3', ['-c', `import ${djangoModules.join(', ')}`]).status === 0

/** Installs the Node peers on first use, and after a change of their lock file. */
export function installPeers() {
  const lock = join(peersDirectory, 'package-lock.json')
  const installed = join(peersDirectory, 'node_modules/.installed-lock.json')
  if (existsSync(installed) && readFileSync(installed).equals(readFileSync(lock))) return
  const options = ['ci', '--no-fund', '--no-audit', '--ignore-scripts', '--prefix', peersDirectory]
  if (spawnSync('npm', options, { stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0)
    throw new Error(`the peers cannot be installed: run npm ci in ${peersDirectory}`)
  spawnSync('cp', [lock, installed])
}

export type Started = { pid: number; url: string; log: string; stop: () => Promise<void> }

/** Resolves once the target answers. */
export async function startTarget(
  { command, directory, environment, isOurs, title }: Target,
  services: Pick<Services, 'databaseUrl' | 'redisUrl' | 'directory' | 'pin'>,
  options: { processes: number; nodeOptions?: string; environment?: Record<string, string> },
): Promise<Started> {
  const { processes, nodeOptions = '' } = options
  const port = await findFreePort()
  const log = join(services.directory, 'target.log')
  // For appending, so that the file can be emptied while it is written.
  const descriptor = openSync(log, 'a')
  const wide = ['USER', 'ANONYMOUS', 'LOGIN', 'USERNAME', 'TOKEN', 'REGISTER']
  const [program, ...parameters] = services.pin(command({ port, processes }), 'target')
  const child = spawn(program, parameters, {
    cwd: directory,
    env: {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      NODE_OPTIONS: nodeOptions,
      PORT: String(port),
      DATABASE_URL: services.databaseUrl,
      REDIS_URL: services.redisUrl,
      JWT_SECRET: jwtSecret,
      ...(isOurs
        ? {
            WEB_CONCURRENCY: String(processes),
            NOTIFIER_PORT: String(await findFreePort()),
            DATA_DIR: join(services.directory, 'data'),
            ACCESS_TOKEN_TTL: '24h',
            ...Object.fromEntries(wide.map((name) => [`RATE_LIMIT_${name}`, '9999999/60s'])),
          }
        : { PROCESSES: String(processes) }),
      ...environment,
      ...options.environment,
    },
    stdio: ['ignore', descriptor, descriptor],
  })
  closeSync(descriptor)
  // For any end of this process. The target's own children end with it.
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const url = `http://127.0.0.1:${port}`
  const stop = async () => {
    await stopTree(child)
    process.off('exit', kill)
  }
  const deadline = Date.now() + 60_000
  while (!(await fetch(url).catch(() => undefined))) {
    if (child.exitCode === null && Date.now() < deadline) await sleep(50)
    else {
      await stop()
      throw new Error(`${title} does not start:\n${readFileSync(log, 'utf8').slice(-2000)}`)
    }
  }
  return { pid: Number(child.pid), url, log, stop }
}

async function stopTree(child: ChildProcess) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const pids = treeOf(child.pid)
  const exited = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => pids.forEach(endProcess), 10_000)
  await exited
  clearTimeout(timer)
}
