import { expect, inject, test } from 'vitest'
import { createClient } from '../support/client.ts'

const client = createClient(inject('wide'))

test('a user registers, creates, lists and completes a task, and the notifier posts it', async () => {
  const { token, username, id: userId } = await client.register()
  const created = await client.request('POST', '/api/tasks/', { token, json: { title: 'Buy milk' } })
  expect(created.status).toBe(201)
  const list = await client.request('GET', '/api/tasks/', { token })
  expect(list.body).toEqual({ next: null, previous: null, results: [created.body] })
  const path = created.headers.get('Location') ?? ''
  const completed = await client.request('PATCH', path, { token, json: { status: 'completed' } })
  expect(completed.body).toMatchObject({
    ...created.body,
    status: 'completed',
    updated_at: expect.any(String),
    completed_at: expect.any(String),
  })

  await expect
    .poll(
      async () => {
        const response = await fetch(client.target.notificationsUrl)
        const notifications = (await response.json()) as { event: { detail: { task: { id: number } } } }[]
        return notifications.filter(({ event }) => event.detail.task.id === created.body.id)
      },
      { timeout: 30_000 },
    )
    .toMatchObject([{ event: { detail: { task: completed.body, completed_by: { id: userId, username } } } }])
})
