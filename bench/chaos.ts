/**
 * Kills processes under a steady load: `npm run chaos -- [rounds] [processes]`, 10 and 4 by default. Each
 * round kills and restarts Postgres, kills Redis and restarts it empty, freezes Redis, and kills an API
 * process and the notifier twice each. Clients remember what was acknowledged. At the end each acknowledged
 * task must exist once and each completion must have been notified. Prints a report in Markdown; fails on a
 * lost write, a missing notification, an exceeded limit, or a recovery that takes longer than 5 s.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '../test/support/client.ts'
import { startPostgresCluster } from '../test/support/postgres-cluster.ts'
import { descendantsOf, endProcess, migrateDatabase, startApi } from '../test/support/processes.ts'
import { startTestRedis } from '../test/support/redis.ts'
import { startWebhookReceiver } from '../test/support/webhook-receiver.ts'
import { act, hammer, newChronicle, verify } from './chaos/actors.ts'
import { runBench } from './run-bench.ts'

const rounds = Number(process.argv[2] ?? 10)
const processes = Number(process.argv[3] ?? 4)
const actors = 8
const anonymous = { limit: 60, windowMs: 10_000 }
const recoveryBoundMs = 5000
/** How long Postgres and Redis stay down. */
const downMs = 1500
/** Pause after each fault, longer than the bound. */
const calmMs = 6000

async function main() {
  const [postgres, redis, webhook] = await Promise.all([
    startPostgresCluster({ parameters: { fsync: 'on', full_page_writes: 'on' } }),
    startTestRedis(),
    startWebhookReceiver(),
  ])
  const database = postgres.url()
  await migrateDatabase(database)
  const api = await startApi({
    environment: {
      DATABASE_URL: database,
      REDIS_URL: redis.url,
      WEB_CONCURRENCY: String(processes),
      JWT_SECRET: 'x'.repeat(32),
      BCRYPT_COST: '4',
      RATE_LIMIT_USER: '1000000/60s',
      RATE_LIMIT_ANONYMOUS: `${anonymous.limit}/${anonymous.windowMs / 1000}s`,
      TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
      NOTIFY_WEBHOOK_URL: webhook.url,
    },
  })
  const randomPid = (command: RegExp) => {
    const found = descendantsOf(api.child).filter((each) => command.test(each.command))
    const { pid } = found[Math.floor(Math.random() * found.length)] ?? {}
    if (pid === undefined) throw new Error(`no process matches ${command}`)
    return pid
  }
  const kills = {
    postgres: async () => {
      await postgres.kill()
      await sleep(downMs)
      await postgres.start()
    },
    api: async () => endProcess(randomPid(/cluster-process\.js/)),
    notifier: async () => endProcess(randomPid(/notifier\.js/)),
    redis: async () => {
      await redis.kill()
      await sleep(downMs)
      await redis.start()
    },
    freeze: async () => {
      redis.freeze()
      await sleep(downMs)
      redis.thaw()
    },
  }
  const plan: [name: string, kill: () => Promise<void>][] = [
    ['Postgres killed', kills.postgres],
    ['Redis killed, restarted empty', kills.redis],
    ['Redis frozen', kills.freeze],
    ['API process killed', kills.api],
    ['API process killed', kills.api],
    ['notifier killed', kills.notifier],
    ['notifier killed', kills.notifier],
  ]

  const chronicle = newChronicle()
  const users = await Promise.all(Array.from({ length: actors }, () => createClient(api).register()))
  let over = false
  const isOver = () => over
  const acting = Promise.all(users.map((user) => act(api, user, chronicle, isOver)))
  const hammering = hammer(api, isOver)
  acting.catch(() => {
    over = true
  })
  const storeOutages: Interval[] = []
  const recoveries = new Map<string, number[]>()
  const startedAt = Date.now()
  await sleep(calmMs)
  for (let round = 0; round < rounds && !over; round++) {
    for (const [name, kill] of plan) {
      const from = Date.now()
      await kill()
      const back = Date.now()
      await sleep(calmMs)
      if (name.startsWith('Redis')) storeOutages.push({ from, to: Date.now() })
      const last = chronicle.failures.at(-1)?.at ?? 0
      recoveries.set(name, [...(recoveries.get(name) ?? []), Math.max(0, last - back)])
    }
  }
  over = true
  await acting
  const { passed, refused } = await hammering
  const seconds = (Date.now() - startedAt) / 1000

  const lost = await verify(api, users, chronicle)
  const { missing, repeated, slowestMs } = await notifications(webhook, chronicle.completed)
  const beyond = limitsBroken(passed, storeOutages)
  const slow = [...recoveries].flatMap(([name, times]) =>
    times.filter((ms) => ms > recoveryBoundMs).map((ms) => `${name}: ${ms} ms`),
  )

  console.log(`${rounds} rounds, ${processes} API processes, ${actors} clients, ${Math.round(seconds)} s.\n`)
  console.log('| fault | times | back within, median ms | slowest ms |\n|---|---:|---:|---:|')
  for (const [name, times] of recoveries) {
    const sorted = times.sort((x, y) => x - y)
    console.log(`| ${name} | ${times.length} | ${sorted[Math.floor(sorted.length / 2)]} | ${sorted.at(-1)} |`)
  }
  const created = [...chronicle.created.values()].reduce((sum, count) => sum + count, 0)
  const figures: Record<string, number | string> = {
    requests: chronicle.requests,
    'of these without an answer, or with a 503': chronicle.failures.length,
    'tasks created, each edited three times and completed': created,
    'acknowledged writes lost': lost.length,
    'completions not notified': missing.length,
    'notified more than once': repeated,
    'slowest notification, ms': slowestMs,
    'reads older than what the same client had been told': chronicle.staleReads,
    'requests under a limit: let through, refused': `${passed.length}, ${refused}`,
    'windows beyond the limit': beyond.length,
    'wrong answers': chronicle.violations.length,
  }
  console.log('\n| | |\n|---|---:|')
  for (const [what, figure] of Object.entries(figures)) console.log(`| ${what} | ${figure} |`)
  const kinds = new Map<string, number>()
  for (const { what } of chronicle.failures) {
    const kind = what.replaceAll(/"request_id":"[^"]*"/g, '').replaceAll(/127\.0\.0\.1:\d+/g, 'the API')
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1)
  }
  console.log('\n| request that failed, and was sent again | times |\n|---|---:|')
  for (const [kind, count] of kinds) console.log(`| ${kind} | ${count} |`)
  const wrong = [
    ...lost,
    ...missing.map((id) => `task ${id} was not notified`),
    ...beyond,
    ...chronicle.violations,
    ...slow,
  ]
  for (const line of wrong.slice(0, 20)) console.log(line)

  const code = await api.stop()
  await webhook.close()
  await redis.stop()
  await postgres.remove()
  if (refused === 0) wrong.push('the limit was never reached')
  process.exitCode = wrong.length === 0 && code === 0 && created > 0 ? 0 : 1
}

type Interval = { from: number; to: number }

/**
 * Returns the windows in which more requests passed than allowed: the limit, plus the limit once per process
 * while the store was down. Requests under way at a window's edge are not counted.
 */
function limitsBroken(passed: Interval[], storeOutages: Interval[]): string[] {
  const { limit, windowMs } = anonymous
  const counts = new Map<number, number>()
  for (const { from, to } of passed) {
    const window = Math.floor(from / windowMs)
    if (Math.floor(to / windowMs) === window) counts.set(window, (counts.get(window) ?? 0) + 1)
  }
  return [...counts].flatMap(([window, count]) => {
    const [start, end] = [window * windowMs, (window + 1) * windowMs]
    // Counts from before an outage are lost, which also affects the window after it.
    const wasDown = storeOutages.some(({ from, to }) => from < end && to > start - windowMs)
    const most = wasDown ? limit * (1 + processes) : limit
    return count > most
      ? [`${count} requests passed in a window of ${limit}${wasDown ? ' while the store was down' : ''}`]
      : []
  })
}

async function notifications(
  { received }: Awaited<ReturnType<typeof startWebhookReceiver>>,
  completed: Map<number, number>,
) {
  const delivered = () =>
    received.map(({ body, at }) => ({ id: JSON.parse(body).event.detail.task.id as number, at }))
  const missing = () => {
    const ids = new Set(delivered().map(({ id }) => id))
    return [...completed.keys()].filter((id) => !ids.has(id))
  }
  const deadline = Date.now() + 60_000
  while (missing().length > 0 && Date.now() < deadline) await sleep(200)
  const first = new Map<number, number>()
  for (const { id, at } of delivered()) if (!first.has(id)) first.set(id, at)
  const delays = [...completed].map(([id, at]) => (first.get(id) ?? at) - at)
  return { missing: missing(), repeated: delivered().length - first.size, slowestMs: Math.max(0, ...delays) }
}

await runBench(main)
