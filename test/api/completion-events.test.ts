/** Becoming completed records exactly one event; seen where the notifier has posted it to. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, type Task, taskPath } from '../support/client.ts'

const client = createClient(inject('wide'))
const { target, request, register, createTask, deleteAccount } = client

const user = await register()
const { token } = user
const colleague = await register()

type Event = {
  id: string
  'detail-type': string
  detail: { task: Task; completed_by: { id: number; username: string } }
}

const patch = (task: Task, json: unknown, as = token, headers: Record<string, string> = {}) =>
  request('PATCH', taskPath(task), { token: as, json, headers })
const put = (task: Task, json: unknown) => request('PUT', taskPath(task), { token, json })

/** Of tasks whose title begins so (ids are another service's too). Delivered twice, an event is still one. */
async function receivedEvents(title: string): Promise<Event[]> {
  const response = await fetch(target.notificationsUrl)
  const notifications = (await response.json()) as { event: Event }[]
  const events = notifications.map(({ event }) => event)
  const byId = new Map(events.map((event) => [event.id, event]))
  return [...byId.values()].filter(({ detail }) => detail.task.title.startsWith(title))
}

/** Resolves when what was recorded before has been delivered, as far as one can tell from what was recorded after. */
async function delivered() {
  for (const title of [newName('sentinel'), newName('sentinel')]) {
    await createTask(token, { title, status: 'completed' })
    await expect.poll(() => receivedEvents(title), { timeout: 60_000, interval: 50 }).toHaveLength(1)
  }
}

/** All events of these tasks, once they have come and no more are on the way. */
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
  test('for a PATCH: a snapshot of the task, and who completed it', async () => {
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

  test('for a POST of a task that is completed already', async () => {
    const title = newName('posted')
    const task = await createTask(token, { title, status: 'completed' })
    expect(await snapshots(title, 1)).toEqual([task])
  })

  test('for a POST that is repeated with its Idempotency-Key, several at once', async () => {
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

  test('for completions at once, whoever makes them', async () => {
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
  test('for repeating completed, nor for other changes of a completed task', async () => {
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

  test('for a change that is refused', async () => {
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

test('re-opening and completing again records another', async () => {
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

describe('the event is a snapshot', () => {
  test('delivered though the task is deleted right after', async () => {
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

  test('delivered as it was though the task is edited, re-opened and renamed right after', async () => {
    const title = newName('edited')
    const task = await createTask(token, { title })
    const { body: completed } = await patch(task, { status: 'completed', description: 'as completed' })
    await patch(task, { status: 'pending', title: 'renamed', description: null })
    expect(await snapshots(title, 1)).toEqual([completed])
  })

  test('delivered though the account that completed the task is deleted right after', async () => {
    const title = newName('account')
    const leaving = await register()
    const task = await createTask(leaving.token, { title, status: 'completed' })
    await deleteAccount(leaving)
    const [event] = await events(title, 1)
    expect(event?.detail).toEqual({ task, completed_by: { id: leaving.id, username: leaving.username } })
  })
})
