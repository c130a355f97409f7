/**
 * Entity tags over the life of a database: restored, made anew, and brought from the schema before revisions.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm } from 'node:fs/promises'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createClient, type Task, taskPath } from '../support/client.ts'
import { temporaryDirectory } from '../support/directories.ts'
import { createService } from '../support/processes.ts'

type Client = ReturnType<typeof createClient>

/** The task as it is read with the conditions, and what a change on the condition of this tag answers. */
async function judge({ request }: Client, token: string, task: Task, etag: string | null) {
  const headers = { 'If-None-Match': String(etag) }
  const read = await request('GET', taskPath(task), { token, headers })
  const changed = await request('PATCH', taskPath(task), {
    token,
    headers: { 'If-Match': String(etag) },
    json: { description: 'changed on the condition of a tag' },
  })
  return [read.status, changed.status]
}

test('a tag of what was lost when a database was restored is no tag of what came instead', async (context) => {
  const service = await createService(context)
  const change = async (title: string) => {
    const api = await service.start()
    const client = createClient(api)
    const { body } = await client.request('POST', '/api/token/', { json: user })
    const token: string = body.access_token
    const changed = await client.request('PATCH', taskPath(task), { token, json: { title } })
    return { api, client, token, etag: changed.headers.get('ETag') }
  }

  const first = await service.start()
  const { username, password, token } = await createClient(first).register()
  const user = { username, password }
  const task = await createClient(first).createTask(token)
  await first.stop()
  const backup = await temporaryDirectory()
  context.onTestFinished(() => rm(backup, { recursive: true, force: true }))
  await promisify(execFile)('cp', ['-a', `${service.dataDirectory}/.`, backup])

  const lost = await change('lost')
  await lost.api.stop()
  await rm(service.dataDirectory, { recursive: true })
  await mkdir(service.dataDirectory)
  await promisify(execFile)('cp', ['-a', `${backup}/.`, service.dataDirectory])

  const kept = await change('kept')
  expect(kept.etag).not.toBe(lost.etag)
  expect(await judge(kept.client, kept.token, task, lost.etag)).toEqual([200, 412])
  expect(await judge(kept.client, kept.token, task, kept.etag)).toEqual([304, 200])
})

test('a tag of a database is no tag of another one, made anew, with the same ids and versions', async (context) => {
  const [old, anew] = await Promise.all(
    ['old', 'anew'].map(async (title) => {
      const client = createClient(await (await createService(context)).start())
      const { token } = await client.register()
      const created = await client.request('POST', '/api/tasks/', { token, json: { title } })
      const task: Task = created.body
      return { client, token, task, etag: created.headers.get('ETag') }
    }),
  )
  if (!old || !anew) throw new Error('two were started')
  expect(anew.task.id).toBe(old.task.id)
  expect(await judge(anew.client, anew.token, anew.task, old.etag)).toEqual([200, 412])
})

test('what the program before revisions left keeps the tags it had, until it changes', async (context) => {
  const service = await createService(context)
  const client = createClient(await service.start())
  const { request } = client
  const { token } = await client.register()
  const post = () => {
    const json = { title: 'Made by the program before' }
    return request('POST', '/api/tasks/', { token, json, headers: { 'Idempotency-Key': 'before' } })
  }
  const task: Task = (await post()).body
  await service.query('update tasks set revision = null')
  await service.query('update idempotency_keys set revision = null')

  const replayed = await post()
  expect(replayed.headers.get('Idempotency-Replayed')).toBe('true')
  expect(replayed.headers.get('ETag')).toBe('"1"')
  expect(await judge(client, token, task, '"1"')).toEqual([304, 200])
  expect((await request('GET', taskPath(task), { token })).headers.get('ETag')).toMatch(/^"2\.\d+"$/)

  // That program, still running, changes tasks without a word of revisions.
  const [{ revision: before } = {}] = await service.query<{ revision: string }>('select revision from tasks')
  await service.query(`update tasks set title = 'changed'`)
  const [{ revision: after } = {}] = await service.query<{ revision: string }>('select revision from tasks')
  expect(new Set([before, after, null, undefined]).size).toBe(4)
})

test('a tag changes with what only SQL can change of a task, and with nothing that is not shown', async (context) => {
  const service = await createService(context)
  const client = createClient(await service.start())
  const [{ token }, heir] = [await client.register(), await client.register()]
  const task = await client.createTask(token, { assigned_to: heir.id })
  const tagNow = async () => {
    const [row] = await service.query<{ version: number; revision: string }>(
      'select version, revision from tasks',
    )
    return `"${row?.version}.${row?.revision}"`
  }
  const tags = new Set([await tagNow()])
  for (const change of [`created_by = ${heir.id}`, "created_at = created_at - interval '1 day'"]) {
    await service.query(`update tasks set ${change}`)
    tags.add(await tagNow())
  }
  expect(tags.size).toBe(3)
  const current = await tagNow()
  await service.query('update tasks set title = title')
  expect(await tagNow()).toBe(current)
  const read = await client.request('GET', taskPath(task), { token: heir.token })
  expect([read.headers.get('ETag'), read.body.created_by]).toEqual([current, heir.id])
})
