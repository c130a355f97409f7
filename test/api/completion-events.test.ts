/** Completing a task records exactly one event, which the notifier posts to its webhook. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { createClient, newName, type Task, taskPath } from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { target, request, register, createTask, deleteAccount } = client

let token: string
beforeAll(async () => {
  token = (await register()).token
})
const colleague = registerBeforeAll(client)

type Event = {
  id: string
  'detail-type': string
  detail: { task: Task; completed_by: { id: number; username: string } }
}

const patch = (task: Task, json: unknown, as = token, headers: Record<string, string> = {}) =>
  request('PATCH', taskPath(task), { token: as, json, headers })
const put = (task: Task, json: unknown) => request('PUT', taskPath(task), { token, json })

/** Events of tasks whose title begins so (another service has the same ids), without duplicates. */
async function receivedEvents(title: string): Promise<Event[]> {
  const response = await fetch(target.notificationsUrl)
  const notifications = (await response.json()) as { event: Event }[]
  const events = notifications.map(({ event }) => event)
  const byId = new Map(events.map((event) => [event.id, event]))
  return [...byId.values()].filter(({ detail }) => detail.task.title.startsWith(title))
}

/** Waits for the delivery of two later events, so that earlier ones have most probably been delivered too. */
async function delivered() {
  for (const title of [newName('sentinel'), newName('sentinel')]) {
    await createTask(token, { title, status: 'completed' })
    await expect.poll(() => receivedEvents(title), { timeout: 60_000, interval: 50 }).toHaveLength(1)
  }
}

/** All events of these tasks, after the last of them has been delivered. */
async function events(title: string, expected: number): Promise<Event[]> {
  const enough = async () => (await receivedEvents(title)).length >= expected
  await expect.poll(enough, { timeout: 60_000, interval: 50 }).toBe(true)
  await delivered()
  const all = await receivedEvents(title)
  expect(all.map(({ detail }) => detail.task.title)).toHaveLength(expected)
  return all
}

const snapshots = async (title: string, expected: number) =>
  (await events(title, expected)).map(({ detail }) => detail.task)

describe('one event', () => {
  test('for a PATCH, with the task and the user who completed it', async () => {
    const title = newName('patched')
    const task = await createTask(token, { title, assigned_to: colleague.id, description: 'Ärger "🐎"' })
    const { body: completed } = await patch(task, { status: 'completed' }, colleague.token)
    const [event] = await events(title, 1)
    expect(event).toMatchObject({
      'detail-type': 'Task Completed',
      detail: { completed_by: { id: colleague.id, username: colleague.username } },
    })
    expect(event?.detail.task).toEqual(completed)
  })

  test('for a PUT', async () => {
    const title = newName('put')
    const task = await createTask(token, { title: 'before' })
    const { body: completed } = await put(task, { title, status: 'completed', description: 'new' })
    expect(await snapshots(title, 1)).toEqual([completed])
  })

  test('for a POST of a completed task', async () => {
    const title = newName('posted')
    const task = await createTask(token, { title, status: 'completed' })
    expect(await snapshots(title, 1)).toEqual([task])
  })

  test('for concurrent POSTs with one Idempotency-Key', async () => {
    const title = newName('keyed')
    const post = () =>
      request('POST', '/api/tasks/', {
        token,
        json: { title, status: 'completed' },
        headers: { 'Idempotency-Key': title },
      })
    const [first] = await Promise.all(Array.from({ length: 8 }, post))
    expect((await post()).headers.get('Idempotency-Replayed')).toBe('true')
    expect(await snapshots(title, 1)).toEqual([first?.body])
  })

  test('for concurrent completions by several users', async () => {
    const title = newName('concurrent')
    const tasks = await Promise.all(
      Array.from({ length: 5 }, (_, i) =>
        createTask(token, { title: `${title} ${i}`, assigned_to: colleague.id }),
      ),
    )
    for (const task of tasks) {
      const answers = await Promise.all([
        ...[token, colleague.token, token, colleague.token].map((as) =>
          patch(task, { status: 'completed' }, as),
        ),
        put(task, { title: task.title, status: 'completed' }),
        put(task, { ...task, status: 'completed' }),
      ])
      expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200))
    }
    const ids = (await snapshots(title, tasks.length)).map(({ id }) => id)
    expect(ids.sort((a, b) => a - b)).toEqual(tasks.map(({ id }) => id).sort((a, b) => a - b))
  })
})

describe('no event', () => {
  test('for completing a completed task, or changing it', async () => {
    const title = newName('repeated')
    const task = await createTask(token, { title })
    const { body: completed } = await patch(task, { status: 'completed' })
    await patch(task, { status: 'completed' })
    await put(task, { title, status: 'completed' })
    await put(task, completed)
    await patch(task, { title: `${title} edited`, status: 'completed' })
    await patch(task, { description: 'edited' })
    expect(await snapshots(title, 1)).toEqual([completed])
  })

  test('for a task that stays or becomes pending', async () => {
    const title = newName('pending')
    const task = await createTask(token, { title })
    await patch(task, { title: `${title} edited`, status: 'pending' })
    await put(task, { title, description: 'edited' })
    const completed = await createTask(token, { title: 'to be re-opened', status: 'completed' })
    await patch(completed, { title: `${title} re-opened`, status: 'pending' })
    expect(await snapshots(title, 0)).toEqual([])
  })

  test('for a refused change', async () => {
    const title = newName('refused')
    const [task, stranger] = [await createTask(token, { title }), await register()]
    const refused = [
      await patch(task, { status: 'completed' }, stranger.token),
      await patch(task, { status: 'completed' }, token, { 'If-Match': '"stale"' }),
      await patch(task, { status: 'completed', assigned_to: 2 ** 40 }),
      await patch(task, { status: 'completed', x: 1 }),
      await request('POST', '/api/tasks/', {
        token,
        json: { title, status: 'completed', assigned_to: 2 ** 40 },
      }),
      await request('POST', '/api/tasks/', { token, json: { title, status: 'completed', id: 1 } }),
    ]
    expect(refused.map(({ status }) => status)).toEqual([404, 412, 400, 400, 400, 400])
    expect(await snapshots(title, 0)).toEqual([])
  })

  test("when the account of a completed task's assignee is deleted", async () => {
    const title = newName('unassigned')
    const leaving = await register()
    const task = await createTask(token, { title, status: 'completed', assigned_to: leaving.id })
    await deleteAccount(leaving)
    expect((await request('GET', taskPath(task), { token })).body.assigned_to).toBeNull()
    expect(await snapshots(title, 1)).toEqual([task])
  })
})

test('completing a reopened task records another event', async () => {
  const title = newName('reopened')
  const task = await createTask(token, { title })
  const completed: Task[] = []
  for (let round = 0; round < 3; round++) {
    completed.push((await patch(task, { status: 'completed', description: `round ${round}` })).body)
    await patch(task, { status: 'pending' })
  }
  const received = await snapshots(title, 3)
  expect(received.sort((a, b) => (a.description ?? '').localeCompare(b.description ?? ''))).toEqual(completed)
})

describe('the event has the task as it was completed', () => {
  test('even if the task is deleted at once', async () => {
    const title = newName('deleted')
    const tasks: Task[] = []
    for (let i = 0; i < 5; i++) {
      const task = await createTask(token, { title: `${title} ${i}` })
      tasks.push((await patch(task, { status: 'completed' })).body)
      expect((await request('DELETE', taskPath(task), { token })).status).toBe(204)
    }
    const received = await snapshots(title, tasks.length)
    expect(received.sort((a, b) => a.id - b.id)).toEqual(tasks)
  })

  test('even if the task is edited, reopened and renamed at once', async () => {
    const title = newName('edited')
    const task = await createTask(token, { title })
    const { body: completed } = await patch(task, { status: 'completed', description: 'as completed' })
    await patch(task, { status: 'pending', title: 'renamed', description: null })
    expect(await snapshots(title, 1)).toEqual([completed])
  })

  test('even if the account that completed it is deleted at once', async () => {
    const title = newName('account')
    const leaving = await register()
    const task = await createTask(leaving.token, { title, status: 'completed' })
    await deleteAccount(leaving)
    const [event] = await events(title, 1)
    expect(event?.detail).toEqual({ task, completed_by: { id: leaving.id, username: leaving.username } })
  })
})
