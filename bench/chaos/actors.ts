/** Clients that retry like a careful program and remember everything that was acknowledged. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type Answer,
  type Client,
  createClient,
  type RequestOptions,
  type User,
} from '../../test/support/client.ts'

type Service = { baseUrl: string; addressHeader: string }

export type Chronicle = {
  requests: number
  /** Failures that are allowed while something is down: no answer, or a 503 with Retry-After. */
  failures: { at: number; what: string }[]
  /** Any other wrong answer. */
  violations: string[]
  /** Reads that were older than an answer which the same client had before. */
  staleReads: number
  /** Ids of tasks whose completion was acknowledged, with the time in ms since the epoch. */
  completed: Map<number, number>
  /** How many tasks each user has created. */
  created: Map<User, number>
}

export const newChronicle = (): Chronicle => ({
  requests: 0,
  failures: [],
  violations: [],
  staleReads: 0,
  completed: new Map(),
  created: new Map(),
})

const timeoutMs = 60_000

/** Creates, reads, edits and completes one task after the other. Finishes the current one once `isOver`. */
export async function act(service: Service, user: User, chronicle: Chronicle, isOver: () => boolean) {
  const client = createClient(service)
  const send = (method: string, path: string, options: RequestOptions) =>
    untilAcknowledged(client, chronicle, method, path, { token: user.token, ...options })
  while (!isOver()) {
    const options = { json: { title: '0' }, headers: { 'Idempotency-Key': randomUUID() } }
    const { body: task } = await send('POST', '/api/tasks/', options)
    chronicle.created.set(user, (chronicle.created.get(user) ?? 0) + 1)
    const path = `/api/tasks/${task.id}/`
    for (let number = 1; number <= 3; number++) {
      await send('PATCH', path, { json: { title: String(number) } })
      const { body } = await send('GET', path, {})
      if (Number(body.title) < number) chronicle.staleReads++
    }
    await send('GET', '/api/tasks/?limit=10', {})
    await send('PATCH', path, { json: { status: 'completed' } })
    chronicle.completed.set(task.id, Date.now())
  }
}

/**
 * Retries until acknowledged. Every request is safe to repeat: edits set absolute values, creations have a
 * key.
 */
async function untilAcknowledged(
  client: Client,
  chronicle: Chronicle,
  method: string,
  path: string,
  options: RequestOptions,
): Promise<Answer> {
  const startedAt = Date.now()
  for (;;) {
    chronicle.requests++
    const answer = await client.request(method, path, options).catch((error: Error) => error)
    if (!(answer instanceof Error) && answer.status < 300) return answer
    const what =
      answer instanceof Error ? reasonOf(answer) : `${answer.status} ${JSON.stringify(answer.body)}`
    chronicle.failures.push({ at: Date.now(), what: `${method} ${what}` })
    const isExpected =
      answer instanceof Error ||
      (answer.status === 503 && answer.headers.has('Retry-After')) ||
      // The first attempt with this key is still under way.
      (answer.status === 409 && method === 'POST')
    if (!isExpected) chronicle.violations.push(`${method} ${path}: ${what}`)
    if (!isExpected || Date.now() - startedAt > timeoutMs) throw new Error(`${method} ${path}: ${what}`)
    await sleep(100)
  }
}

const reasonOf = (error: Error) => (error.cause instanceof Error ? error.cause.message : error.message)

/** Returns a line for each acknowledged write that is missing or doubled. */
export async function verify(service: Service, users: User[], chronicle: Chronicle) {
  const client = createClient(service)
  const lost: string[] = []
  for (const user of users) {
    const { body } = await client.request('GET', '/api/tasks/?count=true&limit=1', { token: user.token })
    const expected = chronicle.created.get(user) ?? 0
    if (body.count !== expected) lost.push(`${user.username} created ${expected} tasks and has ${body.count}`)
    let next: string | null = '/api/tasks/?limit=100'
    while (next) {
      const page: Answer = await client.request('GET', next, { token: user.token })
      for (const { id, title, status } of page.body.results) {
        if (!chronicle.completed.has(id)) continue
        if (title !== '3' || status !== 'completed') lost.push(`task ${id} is ${status} with title ${title}`)
      }
      next = page.body.next
    }
  }
  return lost
}

/** Sends requests without a token from one address, and records those that the limit let pass. */
export async function hammer({ baseUrl, addressHeader }: Service, isOver: () => boolean) {
  const passed: { from: number; to: number }[] = []
  let refused = 0
  while (!isOver()) {
    const from = Date.now()
    const answer = await fetch(new URL('/api/tasks/', baseUrl), {
      headers: { [addressHeader]: '203.0.113.9' },
    }).catch(() => undefined)
    if (answer?.status === 401) passed.push({ from, to: Date.now() })
    if (answer?.status === 429) refused++
    await answer?.body?.cancel()
    await sleep(20)
  }
  return { passed, refused }
}
