/** No acknowledged write and no event is lost when a process is killed at the worst moment. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, type TestContext, test, vi } from 'vitest'
import { type Answer, atOnce, createClient, problemFaults } from '../support/client.ts'
import { root } from '../support/directories.ts'
import {
  type ApiProcess,
  createService,
  descendantsOf,
  endProcess,
  type Line,
  type Service,
} from '../support/processes.ts'
import { until } from './fixtures/embedded-postgres.ts'

/** An event claimed by a killed process waits for the end of its lease of 15 s. */
const patience = { timeout: 60_000, interval: 100 }
/** Events that the relay delivers at a time. */
const batch = 10
const keys = { AWS_ACCESS_KEY_ID: 'notifier', AWS_SECRET_ACCESS_KEY: 'known-to-both-ends' }

/** Clients that complete tasks without pause, until `stop` or until the API is gone. */
async function startLoad(api: ApiProcess) {
  const client = createClient(api)
  const { token } = await client.register()
  const created: number[] = []
  const completed: number[] = []
  const refused: Answer[] = []
  let broken = 0
  let stopped = false

  async function workOn() {
    const task = await client.request('POST', '/api/tasks/', { token, json: { title: 'Under load' } })
    if (task.status !== 201) return void refused.push(task)
    created.push(task.body.id)
    const path = `/api/tasks/${task.body.id}/`
    const done = await client.request('PATCH', path, { token, json: { status: 'completed' } })
    if (done.status === 200) completed.push(task.body.id)
    else refused.push(done)
  }
  const workers = atOnce(6, async () => {
    while (!stopped && broken === 0) await workOn().catch(() => broken++)
  })
  return {
    /** Ids of tasks whose creation, or completion, was acknowledged. */
    created,
    completed,
    /** All other answers. */
    refused,
    /** The number of requests without an answer. */
    broken: () => broken,
    async stop() {
      stopped = true
      await workers
    },
  }
}

async function completeTasks(api: ApiProcess, count: number): Promise<number[]> {
  const client = createClient(api)
  const { token } = await client.register()
  const tasks = await atOnce(count, () => client.createTask(token))
  const answers = await Promise.all(
    tasks.map(({ id }) =>
      client.request('PATCH', `/api/tasks/${id}/`, { token, json: { status: 'completed' } }),
    ),
  )
  expect(answers.map(({ status }) => status)).toEqual(tasks.map(() => 200))
  return tasks.map(({ id }) => id)
}

type Posted = { id: string; detail: { task: { id: number } } }

const eventIn = ({ body }: { body: string }): Posted => JSON.parse(body).event

/**
 * Makes the webhook withhold its answers until `release`. The relay delivers one batch at a time: while a
 * whole batch of posts is open, no other post is in flight.
 */
function holdAnswers({ webhook }: Service) {
  const held: string[] = []
  let open = 0
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = () => {
      webhook.answerWith((response) => void response.writeHead(200).end())
      resolve()
    }
  })
  webhook.answerWith(async (response) => {
    const request = webhook.received.at(-1)
    if (request) held.push(eventIn(request).id)
    open++
    response.once('close', () => open--)
    await released
    response.writeHead(200).end()
  })
  return { held, open: () => open, release }
}

/** Completes more than a batch in one transaction, so that the relay finds a whole batch at once. */
async function completeManyAtOnce(service: Service, api: ApiProcess): Promise<number[]> {
  const client = createClient(api)
  const { token } = await client.register()
  const tasks = await atOnce(2 * batch + 5, () => client.createTask(token))
  const ids = tasks.map(({ id }) => id)
  await service.query(`update tasks set status = 'completed' where id in (${ids})`)
  // Wakes the relay, which would otherwise poll some seconds later.
  const last = await client.createTask(token, { status: 'completed' })
  return [...ids, last.id]
}

function tally<T>(values: T[]): Map<T, number> {
  const counts = new Map<T, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return counts
}

const inOrder = (ids: Iterable<number>) => [...ids].sort((a, b) => a - b)
const missing = <T>(wanted: Iterable<T>, found: Iterable<T>) => {
  const set = new Set(found)
  return [...wanted].filter((value) => !set.has(value))
}

type Expected = {
  created?: number[]
  completed: number[]
  /** Ids of events that the webhook got and did not answer in time. Only these may be posted again. */
  held?: string[]
  /** The notifier logged them as handled, and only its answer was lost. */
  loggedBefore?: boolean
}

/** Waits until the outbox is empty, then compares acknowledged, stored and notified tasks. */
async function expectAllNotified(service: Service, expected: Expected) {
  const { created = [], completed, held = [], loggedBefore = false } = expected
  const waiting = () => service.query('select id, attempts, last_error from outbox')
  await vi.waitFor(async () => expect(await waiting()).toEqual([]), patience)

  const tasks = await service.query<{ id: number; status: string }>('select id::int, status from tasks')
  const stored = tasks.filter(({ status }) => status === 'completed').map(({ id }) => id)
  expect(
    missing(
      created,
      tasks.map(({ id }) => id),
    ),
  ).toEqual([])
  expect(missing(completed, stored)).toEqual([])

  const events = service.webhook.received.map(eventIn)
  const taskOf = new Map(events.map(({ id, detail }) => [id, detail.task.id]))
  // Includes tasks that were committed without an acknowledgement: a change and its event are atomic.
  expect(inOrder(taskOf.values())).toEqual(inOrder(stored))

  const posts = tally(events.map(({ id }) => id))
  const unanswered = tally(held)
  expect([...posts].filter(([id, count]) => count - (unanswered.get(id) ?? 0) > 1)).toEqual([])

  const logged = () => tally(service.lines().flatMap(handledEvent))
  await vi.waitFor(() => expect(missing(taskOf.keys(), logged().keys())).toEqual([]), patience)
  const allowed = (id: string) => (loggedBefore && unanswered.has(id) ? 2 : 1)
  expect([...logged()].filter(([id, count]) => count > allowed(id))).toEqual([])
}

const handledEvent = ({ message, event_id }: Line) => (message === 'task completed' ? [String(event_id)] : [])

async function kill({ child }: Pick<ApiProcess, 'child'>) {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

async function killWithAllItStarted(api: ApiProcess) {
  const others = descendantsOf(api.child)
  for (const program of ['notifier.js', 'bin/postgres'])
    expect(others.some(({ command }) => command.includes(program))).toBe(true)
  const gone = kill(api)
  for (const { pid } of others) endProcess(pid)
  await gone
}

test.concurrent.for([
  { what: 'the API', killIt: kill, loggedBefore: true },
  { what: 'the API, the notifier and Postgres at once', killIt: killWithAllItStarted, loggedBefore: false },
])('$what killed under load between commit and delivery', async ({ killIt, loggedBefore }, context) => {
  const service = await createService(context)
  const api = await service.start()
  const completed = await completeTasks(api, batch + 2)
  await expectAllNotified(service, { completed })

  const { held, open, release } = holdAnswers(service)
  completed.push(...(await completeManyAtOnce(service, api)))
  const load = await startLoad(api)
  await until(() => load.completed.length >= 30 && open() === batch, patience.timeout)
  await killIt(api)
  await load.stop()
  expect(load.broken()).toBeGreaterThan(0)
  expect(load.refused).toEqual([])
  release()

  await service.start()
  completed.push(...load.completed)
  await expectAllNotified(service, { created: load.created, completed, held, loggedBefore })
})

test.concurrent('the notifier is killed while it handles events', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const notifierOf = () => descendantsOf(api.child).find(({ command }) => command.includes('notifier.js'))
  const { held, open, release } = holdAnswers(service)
  const completed = await completeManyAtOnce(service, api)
  await until(() => open() === batch, patience.timeout)
  const victim = notifierOf()
  if (!victim) throw new Error('there is no notifier')
  endProcess(victim.pid)
  await api.line(({ message }) => message === 'notifier died')
  release()
  await expectAllNotified(service, { completed, held })
  expect(notifierOf()?.pid).not.toBe(victim.pid)
  expect(api.child.exitCode).toBeNull()
})

async function serviceWithNotifierElsewhere(context: TestContext) {
  const service = await createService(context, keys)
  const { NOTIFIER_PORT, NOTIFY_WEBHOOK_URL } = service.settings
  Object.assign(service.settings, { NOTIFIER_ENDPOINT: `http://127.0.0.1:${NOTIFIER_PORT}` })
  async function startNotifier() {
    const notifier = service.startProgram([process.execPath, join(root, 'dist/notifier.js')], {
      environment: { ...keys, NOTIFIER_PORT, NOTIFY_WEBHOOK_URL },
    })
    await notifier.line(({ message }) => message === 'notifier listening')
    return notifier
  }
  return { service, startNotifier }
}

test.concurrent('a notifier that is down delays no answer, and gets every event when it is back', async (context) => {
  const { service, startNotifier } = await serviceWithNotifierElsewhere(context)
  const api = await service.start()
  const readiness = async () => {
    const { status, body } = await createClient(api).request('GET', '/readyz')
    return { httpStatus: status, ...body }
  }
  const completed = await completeTasks(api, batch + 2)
  await vi.waitFor(
    async () =>
      expect(await readiness()).toEqual({ httpStatus: 200, status: 'degraded', degraded: ['notifier'] }),
    patience,
  )
  const notifier = await startNotifier()
  await expectAllNotified(service, { completed })
  await vi.waitFor(async () => expect(await readiness()).toMatchObject({ status: 'ready' }), patience)

  await notifier.stop()
  completed.push(...(await completeTasks(api, batch + 2)))
  await startNotifier()
  await expectAllNotified(service, { completed })
})

test.concurrent('API and notifier down: tasks completed before and after the kill are notified', async (context) => {
  const { service, startNotifier } = await serviceWithNotifierElsewhere(context)
  const api = await service.start()
  const completed = await completeTasks(api, 2 * batch)
  await kill(api)
  completed.push(...(await completeTasks(await service.start(), 3)))
  expect(service.webhook.received).toEqual([])
  await startNotifier()
  await expectAllNotified(service, { completed })
})

// It may be back before any request has waited for it too long.
test.concurrent('Postgres is killed under load: at most 503 until it is back, without a restart of the API', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const load = await startLoad(api)
  await until(() => load.completed.length >= 30, patience.timeout)
  const lock = await readFile(join(service.dataDirectory, 'postgres/postmaster.pid'), 'utf8')
  endProcess(Number.parseInt(lock, 10))
  expect((await createClient(api).request('GET', '/healthz')).status).toBe(200)
  await api.line(({ message }) => message === 'the database runs again')
  const atReturn = load.completed.length
  await until(() => load.completed.length >= atReturn + 30, patience.timeout)
  await load.stop()

  expect(load.broken()).toBe(0)
  for (const answer of load.refused) {
    expect({ status: answer.status, faults: problemFaults(answer) }).toEqual({ status: 503, faults: [] })
    expect(answer.headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
  }
  await expectAllNotified(service, load)
  expect((await createClient(api).request('GET', '/readyz')).body).toEqual({ status: 'ready' })
})
