/** Creating, reading, changing and deleting one's own task. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { createClient, etagOf, type Task, taskPath } from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
const entityTag = expect.stringMatching(/^"[^"]+"$/)

let token: string
let userId: number
beforeAll(async () => {
  ;({ token, id: userId } = await register())
})
const colleague = registerBeforeAll(client)

const get = (task: Task) => request('GET', taskPath(task), { token })
const put = (task: Task, json: unknown) => request('PUT', taskPath(task), { token, json })
const patch = (task: Task, json: unknown) => request('PATCH', taskPath(task), { token, json })

describe('POST /api/tasks/', () => {
  test('creates a task from a title', async () => {
    const { status, headers, body } = await request('POST', '/api/tasks/', {
      token,
      json: { title: 'Buy milk' },
    })
    expect(status).toBe(201)
    expect(body).toEqual({
      id: expect.any(Number),
      title: 'Buy milk',
      description: null,
      status: 'pending',
      assigned_to: null,
      created_by: userId,
      created_at: timestamp,
      updated_at: timestamp,
      completed_at: null,
    })
    expect(Number.isSafeInteger(body.id)).toBe(true)
    expect(Math.abs(Date.parse(body.created_at) - Date.now())).toBeLessThan(60_000)
    expect(headers.get('Location')).toBe(taskPath(body))
    expect(headers.get('ETag')).toEqual(entityTag)
    expect(headers.get('Content-Type')).toMatch(/^application\/json\b/)
    expect((await get(body)).body).toEqual(body)
  })

  test('takes every writable member', async () => {
    const json = {
      title: 'Fix the roof',
      description: 'before it rains',
      status: 'completed',
      assigned_to: colleague.id,
    }
    const { status, body } = await request('POST', '/api/tasks/', { token, json })
    expect(status).toBe(201)
    expect(body).toMatchObject({ ...json, completed_at: timestamp })
    expect((await get(body)).body).toEqual(body)
  })

  test('takes null for description and assigned_to', async () => {
    const task = await createTask(token, { description: null, assigned_to: null })
    expect(task).toMatchObject({ description: null, assigned_to: null })
  })

  test('lets a task be assigned to its creator', async () => {
    expect(await createTask(token, { assigned_to: userId })).toMatchObject({
      created_by: userId,
      assigned_to: userId,
    })
  })

  test('answers the same without the slash at the end', async () => {
    const { status, headers, body } = await request('POST', '/api/tasks', {
      token,
      json: { title: 'Buy milk' },
    })
    expect(status).toBe(201)
    expect(headers.get('Location')).toBe(taskPath(body))
  })
})

describe('GET /api/tasks/{id}/', () => {
  test('answers the task with its entity tag', async () => {
    const created = await request('POST', '/api/tasks/', { token, json: { title: 'Buy milk' } })
    const { status, headers, body } = await get(created.body)
    expect(status).toBe(200)
    expect(body).toEqual(created.body)
    expect(etagOf(client.target, { headers })).toBe(etagOf(client.target, created))
    const bare = await request('GET', taskPath(body).slice(0, -1), { token })
    expect(bare).toMatchObject({ status: 200, body: created.body })
  })
})

describe('PUT /api/tasks/{id}/', () => {
  test('changes every writable member', async () => {
    const task = await createTask(token)
    const json = { title: 'New', description: 'also new', status: 'completed', assigned_to: colleague.id }
    const { status, body, headers } = await put(task, json)
    expect(status).toBe(200)
    expect(body).toEqual({ ...task, ...json, updated_at: timestamp, completed_at: timestamp })
    const read = await get(task)
    expect(read.body).toEqual(body)
    expect(read.headers.get('ETag')).toBe(headers.get('ETag'))
  })

  test('keeps the members that are left out', async () => {
    const values = { description: 'stays', status: 'completed', assigned_to: colleague.id } as const
    const task = await createTask(token, values)
    const { status, body } = await put(task, { title: 'New' })
    expect(status).toBe(200)
    expect(body).toEqual({ ...task, title: 'New', updated_at: timestamp })
  })

  test('removes values with null', async () => {
    const task = await createTask(token, { description: 'goes', assigned_to: colleague.id })
    const { body } = await put(task, { title: task.title, description: null, assigned_to: null })
    expect(body).toMatchObject({ title: task.title, description: null, assigned_to: null })
  })

  test('takes the task as read, with changes', async () => {
    const task = await createTask(token)
    const { body: read } = await get(task)
    const { status, body } = await put(task, { ...read, title: 'Edited' })
    expect(status).toBe(200)
    expect(body).toEqual({ ...task, title: 'Edited', updated_at: timestamp })
  })
})

describe('PATCH /api/tasks/{id}/', () => {
  test.each<[string, () => Partial<Task>]>([
    ['title', () => ({ title: 'New' })],
    ['description', () => ({ description: 'new' })],
    ['an empty description', () => ({ description: '' })],
    ['assignee', () => ({ assigned_to: colleague.id })],
    ['title and assignee', () => ({ title: 'New', assigned_to: null })],
  ])('changes only %s', async (_, change) => {
    const json = change()
    const task = await createTask(token, { description: 'old' })
    const { status, body } = await patch(task, json)
    expect(status).toBe(200)
    expect(body).toEqual({ ...task, ...json, updated_at: timestamp })
    expect((await get(task)).body).toEqual(body)
  })

  test('removes values with null', async () => {
    const task = await createTask(token, { description: 'goes', assigned_to: colleague.id })
    expect((await patch(task, { description: null })).body).toMatchObject({
      description: null,
      assigned_to: colleague.id,
    })
    expect((await patch(task, { assigned_to: null })).body).toMatchObject({
      description: null,
      assigned_to: null,
    })
  })

  test('takes the task as read, with changes, as application/merge-patch+json', async () => {
    const task = await createTask(token)
    const { status, body } = await request('PATCH', taskPath(task), {
      token,
      body: JSON.stringify({ ...task, title: 'Edited' }),
      headers: { 'Content-Type': 'application/merge-patch+json' },
    })
    expect(status).toBe(200)
    expect(body).toEqual({ ...task, title: 'Edited', updated_at: timestamp })
  })

  test('applies concurrent changes of different members', async () => {
    for (let round = 0; round < 10; round++) {
      const task = await createTask(token)
      const changes = [
        { title: `title ${round}` },
        { description: `description ${round}` },
        { status: 'completed' },
        { assigned_to: colleague.id },
      ]
      const answers = await Promise.all(changes.map((json) => patch(task, json)))
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200])
      expect((await get(task)).body).toMatchObject(Object.assign({}, ...changes))
    }
  })
})

describe('times', () => {
  test('updated_at grows with a change, and created_at stays', async () => {
    const task = await createTask(token)
    let [changes, now] = [0, task]
    // Both may fall into one millisecond, but not every time.
    while (now.updated_at === task.updated_at && changes < 100) {
      now = (await patch(task, { description: `change ${++changes}` })).body
    }
    expect(Date.parse(now.updated_at)).toBeGreaterThan(Date.parse(task.updated_at))
    expect(now.created_at).toBe(task.created_at)
  })

  test('completed_at is set while the task is completed', async () => {
    const task = await createTask(token)
    const { body: completed } = await patch(task, { status: 'completed' })
    expect(completed.completed_at).toEqual(timestamp)
    expect(completed.completed_at >= task.created_at).toBe(true)
    const { body: edited } = await patch(task, { title: 'Edited while completed' })
    expect(edited.completed_at).toBe(completed.completed_at)
    const { body: repeated } = await put(task, { title: edited.title, status: 'completed' })
    expect(repeated).toEqual(edited)
    const { body: reopened } = await patch(task, { status: 'pending' })
    expect(reopened).toMatchObject({ status: 'pending', completed_at: null })
    const { body: again } = await put(task, { title: edited.title, status: 'completed' })
    expect(again.completed_at >= completed.completed_at).toBe(true)
  })
})

describe('DELETE /api/tasks/{id}/', () => {
  test('removes the task', async () => {
    const task = await createTask(token)
    expect(await request('DELETE', taskPath(task), { token })).toMatchObject({ status: 204, body: '' })
    for (const method of ['GET', 'HEAD', 'DELETE']) {
      expect([method, (await request(method, taskPath(task), { token })).status]).toEqual([method, 404])
    }
    expect((await put(task, { title: 'New' })).status).toBe(404)
    expect((await patch(task, { title: 'New' })).status).toBe(404)
    const { body } = await request('GET', '/api/tasks/?limit=100', { token })
    expect(body.results.map(({ id }: Task) => id)).not.toContain(task.id)
  })

  test('answers 204 to one of several concurrent requests', async () => {
    const task = await createTask(token)
    const answers = await Promise.all([1, 2, 3, 4].map(() => request('DELETE', taskPath(task), { token })))
    expect(answers.map(({ status }) => status).sort()).toEqual([204, 404, 404, 404])
  })

  test('of an account deletes its tasks for assignees too', async () => {
    const leaving = await register()
    const task = await createTask(leaving.token, { assigned_to: userId })
    expect((await get(task)).status).toBe(200)
    await client.deleteAccount(leaving)
    expect((await get(task)).status).toBe(404)
  })
})
