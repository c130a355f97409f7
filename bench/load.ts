/**
 * Loads the default set-up with raised limits: `npm run load -- [seconds] [clients]`. WEB_CONCURRENCY and
 * REDIS_URL are passed on. In three rounds clients create, read, list, change, complete and delete tasks
 * while others log in without pause. Prints a table in Markdown; fails on a wrong answer, on event-loop lag,
 * and on memory that grows.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { type Client, createClient, type User } from '../test/support/client.ts'
import { root } from '../test/support/directories.ts'
import { type ApiProcess, descendantsOf, startApi } from '../test/support/processes.ts'
import { runBench } from './run-bench.ts'

const seconds = Number(process.argv[2] ?? 60)
const clients = Number(process.argv[3] ?? 50)
const logins = 8
const rounds = 3
/**
 * Event-loop lag at the 99th percentile, in ms, and growth of the heap over all rounds, in MiB. Checked only
 * in rounds of at least half a minute: shorter ones measure neither reliably.
 */
const bounds = { p99: 50, growth: 8 }
const isLongEnough = seconds >= 30

type Tally = { requests: number; logins: number; errors: string[]; latencies: number[] }

async function main() {
  const wide = '1000000/60s'
  const api = await startApi({
    environment: {
      RATE_LIMIT_USER: wide,
      RATE_LIMIT_ANONYMOUS: wide,
      RATE_LIMIT_LOGIN: wide,
      RATE_LIMIT_USERNAME: wide,
      RATE_LIMIT_TOKEN: wide,
      RATE_LIMIT_REGISTER: wide,
      ...forwardedEnv('WEB_CONCURRENCY', 'REDIS_URL'),
      NODE_OPTIONS: `--import=${pathToFileURL(`${root}bench/event-loop-monitor.mjs`)}`,
    },
  })
  const heaps: number[] = []
  let failed = false
  try {
    const client = createClient({ baseUrl: api.baseUrl, addressHeader: 'X-Test-Address' })
    const users = await Promise.all(Array.from({ length: clients }, () => client.register()))
    // A separate user: after a thousand log-ins the user's first session ends.
    const visitor = await client.register()
    console.log(`${clients} clients and ${logins} that log in, ${rounds} rounds of ${seconds} s.\n`)
    console.log(
      '| round | requests/s | p50 ms | p99 ms | logins/s | errors | event loop p99 ms | max ms | heap MiB | RSS MiB |',
    )
    console.log('|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|')
    for (let round = 1; round <= rounds; round++) {
      await measure(api)
      const tally = await load(client, users, visitor)
      const { p99, max, heap, rss } = await measure(api)
      heaps.push(heap)
      tally.latencies.sort((a, b) => a - b)
      const quantile = (q: number) =>
        (tally.latencies[Math.floor(tally.latencies.length * q)] ?? 0).toFixed(1)
      console.log(
        `| ${round} | ${Math.round(tally.requests / seconds)} | ${quantile(0.5)} | ${quantile(0.99)} | ${(tally.logins / seconds).toFixed(1)} | ${tally.errors.length} | ${p99} | ${max} | ${heap} | ${rss} |`,
      )
      for (const error of tally.errors.slice(0, 5)) console.log(error)
      failed ||= tally.errors.length > 0 || (isLongEnough && p99 > bounds.p99)
    }
    const growth = (heaps.at(-1) ?? 0) - (heaps[0] ?? 0)
    console.log(`\nFrom the first round's end to the last's the heap grew by ${growth.toFixed(1)} MiB.`)
    failed ||= isLongEnough && growth > bounds.growth
  } finally {
    const code = await api.stop()
    failed ||= code !== 0
  }
  process.exitCode = failed ? 1 : 0
}

async function load(client: Client, users: User[], visitor: User): Promise<Tally> {
  const tally: Tally = { requests: 0, logins: 0, errors: [], latencies: [] }
  const until = Date.now() + seconds * 1000
  await Promise.all([
    ...users.map(async (user) => {
      while (Date.now() < until) await useTasks(client, user, tally)
    }),
    ...Array.from({ length: logins }, async () => {
      while (Date.now() < until) {
        await client
          .logIn(visitor.username, visitor.password)
          .catch((error) => tally.errors.push(String(error)))
        tally.logins++
      }
    }),
  ])
  return tally
}

/** Uses a task as a person would, from its creation to its deletion. */
async function useTasks(client: Client, { token }: User, tally: Tally) {
  async function request(expected: number, method: string, path: string, json?: object) {
    const startedAt = performance.now()
    try {
      const answer = await client.request(method, path, { token, ...(json ? { json } : {}) })
      if (answer.status !== expected)
        tally.errors.push(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`)
      return answer.body
    } catch (error) {
      tally.errors.push(`${method} ${path}: ${error}`)
    } finally {
      tally.requests++
      tally.latencies.push(performance.now() - startedAt)
    }
  }
  const task = await request(201, 'POST', '/api/tasks/', { title: 'Something to do', description: 'and how' })
  const path = `/api/tasks/${task?.id}/`
  await request(200, 'GET', '/api/tasks/')
  await request(200, 'GET', path)
  await request(200, 'PATCH', path, { title: 'Something else to do' })
  await request(200, 'PATCH', path, { status: 'completed' })
  await request(200, 'GET', '/api/tasks/?status=completed&ordering=-updated_at&limit=10')
  await request(204, 'DELETE', path)
}

const forwardedEnv = (...names: string[]) =>
  Object.fromEntries(names.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))

type Monitored = Record<'p99' | 'max' | 'rss' | 'heap', number>

/** Asks each serving process: returns the largest event-loop lag and the memory of all. */
async function measure({ child, lines }: ApiProcess): Promise<Monitored> {
  const seen = lines.length
  const workers = descendantsOf(child).filter(({ command }) => command.includes('cluster-process.js'))
  const serving = workers.length > 0 ? workers.map(({ pid }) => pid) : [Number(child.pid)]
  for (const pid of serving) process.kill(pid, 'SIGUSR2')
  for (;;) {
    const answers = lines.slice(seen).filter(({ message }) => message === 'monitor') as unknown as Monitored[]
    const all = (name: keyof Monitored) => answers.map((line) => line[name])
    const sum = (name: keyof Monitored) =>
      Number(
        all(name)
          .reduce((a, b) => a + b)
          .toFixed(1),
      )
    if (answers.length === serving.length)
      return {
        p99: Math.max(...all('p99')),
        max: Math.max(...all('max')),
        rss: sum('rss'),
        heap: sum('heap'),
      }
    await sleep(20)
  }
}

await runBench(main)
