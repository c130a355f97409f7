/**
 * Random reads and writes over several processes, while Redis is killed, frozen and restarted empty: after a
 * write was acknowledged, no user who may see the task reads older data.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { entryTtlMs } from '../../src/store/cache.ts'
import { type Client, createClient, type User } from '../support/client.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { type ApiProcess, migrateDatabase, startApi } from '../support/processes.ts'
import { seeded } from '../support/random.ts'
import { startTestRedis, type TestRedis, until } from '../support/redis.ts'

let postgres: TestPostgres
let redis: TestRedis
let processes: ApiProcess[]
let clients: Client[]

beforeAll(async () => {
  postgres = await startTestPostgres()
  redis = await startTestRedis()
  const database = postgres.url(await postgres.createDatabase())
  await migrateDatabase(database)
  const environment = {
    DATABASE_URL: database,
    REDIS_URL: redis.url,
    JWT_SECRET: 'x'.repeat(32),
    BCRYPT_COST: '4',
    RATE_LIMIT_ANONYMOUS: '1000000/60s',
    RATE_LIMIT_USER: '1000000/60s',
  }
  processes = await Promise.all([1, 2, 3].map(() => startApi({ environment })))
  clients = processes.map((api) => createClient(api))
})
afterAll(async () => {
  await Promise.all((processes ?? []).map((api) => api.stop()))
  await redis?.stop()
  await postgres?.stop()
})

/** State of a task from answers. A read that begins now must show this, or newer data. */
type Known = {
  id: number
  creator: User
  /** The number in the title of the newest acknowledged write. */
  number: number
  /** The assignee; undefined while it is being changed. */
  assignee: User | null | undefined
  /** The newest write that was acknowledged without a fault of Redis. */
  sound: number
  /** Times at which later writes were acknowledged, ms. */
  answeredAt: Map<number, number>
}

test('no read is older than a write that was acknowledged before it began', async () => {
  const random = seeded(20261124)
  const pick = <T>(list: readonly T[]): T => {
    const one = list[Math.floor(random() * list.length)]
    if (one === undefined) throw new Error('nothing to pick')
    return one
  }
  const users = await Promise.all([1, 2, 3].map(() => pick(clients).register()))
  const tasks: Known[] = []
  for (const creator of [...users, ...users]) {
    const { id } = await pick(clients).createTask(creator.token, { title: '0' })
    tasks.push({ id, creator, number: 0, assignee: null, sound: 0, answeredAt: new Map() })
  }
  const seen = { reads: 0, hits: 0, writes: 0, lateDuringFaults: 0 }
  const faults: string[] = []
  let faulty = false
  let over = false

  /** One writer a task, so that the order of its writes is known. */
  async function write(task: Known) {
    while (!over) {
      const number = task.number + 1
      const begunSound = !faulty
      const assignee = random() < 0.3 ? pick([null, ...users]) : task.assignee
      if (assignee !== task.assignee) task.assignee = undefined
      const json = { title: String(number), assigned_to: assignee?.id ?? null }
      const answer = await pick(clients).request('PATCH', `/api/tasks/${task.id}/`, {
        token: task.creator.token,
        json,
      })
      expect(answer.status, JSON.stringify(answer.body)).toBe(200)
      seen.writes++
      task.number = number
      task.assignee = assignee
      task.answeredAt.set(number, Date.now())
      if (begunSound && !faulty) task.sound = number
      await sleep(random() * 40)
    }
  }

  function check(task: Known, before: Pick<Known, 'number' | 'sound'>, title: string, where: string) {
    const shown = Number(title)
    if (shown >= before.number) return
    const missed = task.answeredAt.get(shown + 1) ?? 0
    expect(shown, `${where} of ${task.id}`).toBeGreaterThanOrEqual(before.sound)
    expect(Date.now() - missed, `${where} of ${task.id}`).toBeLessThan(entryTtlMs + 10_000)
    seen.lateDuringFaults++
  }

  async function read() {
    while (!over) {
      const user = pick(users)
      const known = tasks.map((task) => ({ task, ...task }))
      const one = pick(known)
      const path = random() < 0.5 ? `/api/tasks/${one.id}/` : '/api/tasks/?limit=100'
      const { status, headers, body } = await pick(clients).request('GET', path, { token: user.token })
      seen.reads++
      if (headers.get('Cache-Status')?.includes('hit')) seen.hits++
      expect([200, 404], JSON.stringify(body)).toContain(status)
      const shown: { id: number; title: string }[] = path.includes('?')
        ? body.results
        : status === 200
          ? [body]
          : []
      for (const { task, ...before } of known) {
        if (!path.includes('?') && task !== one.task) continue
        const found = shown.find(({ id }) => id === task.id)
        if (found) check(task, before, found.title, path)
        // Its creator always sees it, and its assignee until that is changed.
        const stayed = task.assignee === before.assignee && task.number === before.number
        const sees = user === task.creator || (stayed && before.assignee === user)
        const unseen =
          stayed && user !== task.creator && before.assignee !== undefined && before.assignee !== user
        if (before.number > before.sound || faulty) continue
        if (sees) expect(found, `${path} lacks ${task.id}`).toBeDefined()
        if (unseen) expect(found, `${path} still shows ${task.id}`).toBeUndefined()
      }
    }
  }

  async function fault(name: string, begin: () => unknown, end: () => unknown) {
    faulty = true
    faults.push(name)
    await begin()
    await sleep(2500)
    await end()
    for (const client of clients) {
      await until(async () => (await client.request('GET', '/readyz')).body.status === 'ready', 'ready again')
    }
    // A write that was under way when Redis came back may have missed it.
    await sleep(2500)
    faulty = false
    await sleep(1500)
  }

  const work = [...tasks.map(write), read(), read(), read(), read()]
  // A failure ends the other actors.
  const failed = Promise.all(work).catch((error: unknown) => {
    over = true
    throw error
  })
  failed.catch(() => {})
  await until(() => over || (seen.hits > 20 && seen.writes > 50), 'writes, and reads from the cache')
  const soundReads = seen.reads
  if (!over) await fault('killed and restarted empty', redis.kill, redis.start)
  if (!over) await fault('frozen', redis.freeze, redis.thaw)
  if (!over)
    await fault(
      'emptied',
      () => redis.ask(['FLUSHALL']),
      () => {},
    )
  await until(() => over || seen.writes > 200, 'more writes')
  over = true
  await failed
  console.log(JSON.stringify({ ...seen, soundReads, faults }))
  expect(faults).toHaveLength(3)
})
