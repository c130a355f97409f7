/** Sends many Events to the notifier of an API, and kills it repeatedly meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { createLambdaClient } from '../../src/outbox/lambda-client.ts'
import { findEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { credentialsPath, readCredentials } from '../../src/runtime/notifier/credentials.ts'
import { makeCompletionEvent } from './completion-event.ts'
import { type ApiProcess, endProcess, startApi } from './processes.ts'
import { startWebhookReceiver } from './webhook-receiver.ts'

const senders = 16
/** The receiver's delay in ms, so that kills meet requests in flight. */
const handlingMs = 10

export type Storm = {
  /** Events, each sent until it is answered 202. */
  events: number
  kills: number
  /** Events sent again because the connection broke before the answer: they may be in the queue twice. */
  unanswered: number
  /** Ids that never reached the receiver: there must be none. */
  missing: string[]
  /** Events that the receiver got again. */
  repeats: number
  /** Dead letters: there must be none. */
  dead: number
  /** From the first Event to the empty queue. */
  seconds: number
}

/**
 * Kills by SIGKILL at equal steps of the work, so that each kill finds the notifier accepting or handling.
 * @throws Error when the queue is not empty in time
 */
export async function runEventStorm({
  events,
  kills,
  withinMs,
}: {
  events: number
  kills: number
  withinMs: number
}) {
  const receiver = await startWebhookReceiver()
  receiver.answerWith(async (response) => {
    await sleep(handlingMs)
    response.writeHead(200).end()
  })
  const api = await startApi({ environment: { NOTIFY_WEBHOOK_URL: receiver.url, LOG_LEVEL: 'debug' } })
  try {
    return await storm(api, receiver.received, { events, kills, withinMs })
  } finally {
    await api.stop()
    await receiver.close()
  }
}

async function storm(
  api: ApiProcess,
  received: { body: string }[],
  { events, kills, withinMs }: { events: number; kills: number; withinMs: number },
): Promise<Storm> {
  const begun = performance.now()
  const waiting = Array.from({ length: events }, () => makeCompletionEvent())
  const ids = waiting.map(({ id }) => id)
  const invoke = await connect(api)
  const controller = new AbortController()
  let accepted = 0
  let unanswered = 0

  async function send() {
    for (let event = waiting.pop(); event; event = waiting.pop()) {
      for (let outcome = await invoke(event); outcome !== 'accepted'; outcome = await invoke(event)) {
        controller.signal.throwIfAborted()
        if (outcome === 'unanswered') unanswered++
        await sleep(50)
      }
      accepted++
    }
  }

  /** The share of accepted and handled events. */
  const progress = () => (accepted + Math.min(received.length, events)) / (2 * events)
  async function kill() {
    const killed = new Set<number>()
    for (let n = 1; n <= kills; n++) {
      while (progress() < n / (kills + 1) || killed.has(newestNotifier(api))) {
        controller.signal.throwIfAborted()
        await sleep(2)
      }
      const pid = newestNotifier(api)
      killed.add(pid)
      endProcess(pid)
    }
  }

  const work = Promise.all([kill(), ...Array.from({ length: senders }, send)])
  const timer = setTimeout(() => controller.abort(new Error(`not done after ${withinMs} ms`)), withinMs)
  try {
    await work
    const dead = await waitUntilEmpty(api, controller.signal)
    const times = new Map<string, number>()
    for (const { body } of received) {
      const { id } = (JSON.parse(body) as { event: { id: string } }).event
      times.set(id, (times.get(id) ?? 0) + 1)
    }
    return {
      events,
      kills,
      unanswered,
      missing: ids.filter((id) => !times.has(id)),
      repeats: received.length - times.size,
      dead,
      seconds: Math.round((performance.now() - begun) / 100) / 10,
    }
  } finally {
    clearTimeout(timer)
  }
}

/** Returns a function that sends an Event. `nobody there`: no notifier has it. */
async function connect(api: ApiProcess) {
  const credentials = await readCredentials(credentialsPath(api.dataDirectory))
  if (!credentials) throw new Error('the API has made no keys')
  const client = createLambdaClient({
    endpoint: `http://127.0.0.1:${api.notifierPort}`,
    credentials,
    functionName: 'task-notifier',
    invocation: 'Event',
    region: 'us-east-1',
    timeoutMs: 30_000,
  })
  return (event: Parameters<typeof client.invoke>[0]) =>
    client.invoke(event).then(
      () => 'accepted' as const,
      (error: Error) => (error.message.includes('ECONNREFUSED') ? 'nobody there' : 'unanswered'),
    )
}

/** The pid of the current or last notifier. The API must log at debug. */
export function newestNotifier(api: ApiProcess) {
  const line = api.lines.findLast(({ message }) => message === 'notifier spawned')
  if (typeof line?.pid !== 'number') throw new Error('the API started no notifier')
  return line.pid
}

/** Returns the number of dead letters. */
async function waitUntilEmpty(api: ApiProcess, signal: AbortSignal): Promise<number> {
  const connection = await findEmbeddedPostgres({ dataDirectory: api.dataDirectory })
  if (!connection) throw new Error('the API runs no Postgres')
  const sql = postgres({ ...connection, max: 1, onnotice: () => {} })
  try {
    for (;;) {
      const [row] = await sql<[{ waiting: number; dead: number }]>`
        select count(*) filter (where dead_at is null)::int waiting, count(dead_at)::int dead from notifier_events`
      if (row.waiting === 0) return row.dead
      if (signal.aborted) throw new Error(`${row.waiting} events are still in the queue`)
      await sleep(100)
    }
  } finally {
    await sql.end({ timeout: 1 })
  }
}
