/** Access to tasks: who may see, change and delete one; no answer tells a stranger that it exists. */
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  createClient,
  type RequestOptions,
  reaches,
  type Task,
  taskPath,
} from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'
import { words } from '../support/words.ts'

const target = inject('wide')
const client = createClient(target)
const { request, register, logIn, logOut, createTask, deleteAccount } = client

const [creator, assignee, stranger] = [
  registerBeforeAll(client),
  registerBeforeAll(client),
  registerBeforeAll(client),
]
const assigned = () => createTask(creator.token, { assigned_to: assignee.id })

const methods = ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE'] as const
const bodyOf = (method: string) => (method.startsWith('P') ? { json: { title: 'Changed' } } : {})
const send = (method: string, path: string, token: string, options: RequestOptions = bodyOf(method)) =>
  request(method, path, { token, ...options })
const listIds = async (token: string): Promise<number[]> =>
  (await request('GET', '/api/tasks/?limit=100', { token })).body.results.map(({ id }: Task) => id)

/** The answer without the parts that differ between any two answers. */
function comparable({ status, headers, body }: Answer) {
  const differing = /^(date|x-request-id|(x-)?ratelimit.*)$/
  const { request_id, ...rest } = body
  return { status, body: rest, headers: [...headers].filter(([name]) => !differing.test(name)) }
}

describe('a task', () => {
  test('can be read and changed by its creator and its assignee', async () => {
    for (const { token } of [creator, assignee]) {
      const task = await assigned()
      expect(await listIds(token)).toContain(task.id)
      expect((await send('GET', taskPath(task), token)).body).toEqual(task)
      expect((await send('HEAD', taskPath(task), token)).status).toBe(200)
      expect((await send('PUT', taskPath(task), token)).body.title).toBe('Changed')
      const { status, body } = await send('PATCH', taskPath(task), token, {
        json: { description: 'changed', status: 'completed' },
      })
      expect(status).toBe(200)
      expect(body).toMatchObject({ description: 'changed', status: 'completed', created_by: creator.id })
      expect((await send('GET', taskPath(task), creator.token)).body).toEqual(body)
    }
  })

  test('is absent for other users, by every method', async () => {
    const task = await assigned()
    expect(await listIds(stranger.token)).not.toContain(task.id)
    for (const method of methods) {
      expect([method, (await send(method, taskPath(task), stranger.token)).status]).toEqual([method, 404])
    }
    expect((await send('GET', taskPath(task), creator.token)).body).toEqual(task)
  })

  test('can be deleted only by its creator', async () => {
    const task = await assigned()
    const refused = await send('DELETE', taskPath(task), assignee.token)
    expect(refused.status).toBe(403)
    expect(refused.headers.get('Content-Type')).toMatch(/^application\/problem\+json\b/)
    expect((await send('GET', taskPath(task), assignee.token)).body).toEqual(task)
    expect((await send('DELETE', taskPath(task), creator.token)).status).toBe(204)
    expect((await send('DELETE', taskPath(task), assignee.token)).status).toBe(404)
  })

  test('appears and disappears as it is assigned', async () => {
    const task = await createTask(creator.token)
    const assign = (token: string, assigned_to: number | null) =>
      send('PATCH', taskPath(task), token, { json: { assigned_to } })
    const seenBy = async (token: string) => [
      (await send('GET', taskPath(task), token)).status === 200,
      (await listIds(token)).includes(task.id),
    ]
    expect(await seenBy(assignee.token)).toEqual([false, false])
    await assign(creator.token, assignee.id)
    expect(await seenBy(assignee.token)).toEqual([true, true])
    // An assignee may hand it on, and is then shown the last of it.
    const handed = await assign(assignee.token, stranger.id)
    expect(handed).toMatchObject({ status: 200, body: { assigned_to: stranger.id } })
    expect(await seenBy(assignee.token)).toEqual([false, false])
    expect(await seenBy(stranger.token)).toEqual([true, true])
    expect((await assign(stranger.token, null)).status).toBe(200)
    expect(await seenBy(stranger.token)).toEqual([false, false])
    expect(await seenBy(creator.token)).toEqual([true, true])
  })

  test('becomes unassigned when the account of its assignee is deleted', async () => {
    const leaving = await register()
    const task = await createTask(creator.token, { assigned_to: leaving.id })
    await deleteAccount(leaving)
    const { body } = await send('GET', taskPath(task), creator.token)
    expect(body).toEqual({ ...task, assigned_to: null, updated_at: expect.any(String) })
    const { body: unassigned } = await request('GET', '/api/tasks/?assigned_to=none&limit=100', {
      token: creator.token,
    })
    expect(unassigned.results).toContainEqual(body)
  })
})

describe('404', () => {
  test.each(methods.filter((method) => method !== 'HEAD'))(
    "%s answers the same for an absent task as for somebody else's, but for the request id",
    async (method) => {
      const [theirs, gone] = [await assigned(), await assigned()]
      await send('DELETE', taskPath(gone), creator.token)
      const variants: RequestOptions[] = [
        bodyOf(method),
        { ...bodyOf(method), headers: { 'If-Match': '"1"', 'If-None-Match': '"1"' } },
        { ...bodyOf(method), headers: { 'If-Match': '"no such version"' } },
        { ...bodyOf(method), headers: { 'If-Match': '*' } },
        ...(method === 'PATCH' ? [{ json: { assigned_to: stranger.id } }] : []),
      ]
      for (const options of variants) {
        const answers: Answer[] = []
        for (const path of [taskPath(theirs), taskPath(gone), '/api/tasks/999999999999/']) {
          answers.push(await send(method, path, stranger.token, options))
        }
        const [first, ...others] = answers.map(comparable)
        expect(first?.status).toBe(404)
        for (const other of others) expect(other).toEqual(first)
      }
    },
  )

  test('assigning a task that the caller cannot see is answered like an absent one', async () => {
    const gone = await assigned()
    await send('DELETE', taskPath(gone), creator.token)
    const json = { assigned_to: 2 ** 40 }
    const [theirs, absent] = [
      await send('PATCH', taskPath(await assigned()), stranger.token, { json }),
      await send('PATCH', taskPath(gone), stranger.token, { json }),
    ]
    expect(comparable(theirs)).toEqual(comparable(absent))
  })

  const ids = words(`
    abc 1.5 1e3 -1 0x1 %2B1 %201 1%20 1,2 %00 %FF %E0%A4%A %D9%A1 %F0%9F%90%8E null me 2147483648
    9007199254740993 9223372036854775807 9223372036854775808 99999999999999999999999999999999
  `).filter((id) => reaches(target, id))
  test.each(ids)('for the id %s, by every method', async (id) => {
    for (const method of methods) {
      const { status } = await send(method, `/api/tasks/${id}/`, creator.token)
      expect([method, status]).toEqual([method, 404])
    }
  })
})

describe('the order of checks:', () => {
  const large = { body: ' '.repeat(65_537), headers: { 'Content-Type': 'application/json' } }
  const badBody = { json: { title: 5, id: 5, x: 5 } }

  test('a revoked token gets a 401 from every operation', async () => {
    const task = await createTask(creator.token, { assigned_to: assignee.id })
    const own = await createTask(assignee.token)
    const key = { 'Idempotency-Key': 'bound' }
    await send('POST', '/api/tasks/', assignee.token, { json: { title: 'first' }, headers: key })
    const calls: [string, string, RequestOptions][] = [
      ['GET', '/api/tasks/', {}],
      ['GET', '/api/tasks/?limit=0&x=1', {}],
      ['GET', '/api/tasks/?cursor=forged', {}],
      ['GET', '/api/tasks/?search=x&count=true', {}],
      ['POST', '/api/tasks/', { body: '{', headers: { 'Content-Type': 'application/json' } }],
      ['POST', '/api/tasks/', { body: '{}', headers: { 'Content-Type': 'text/plain' } }],
      ['POST', '/api/tasks/', large],
      ['POST', '/api/tasks/', badBody],
      ['POST', '/api/tasks/', { json: { title: 'x' } }],
      ['POST', '/api/tasks/', { json: { title: 'x', assigned_to: 2 ** 40 } }],
      ['POST', '/api/tasks/', { json: { title: 'x' }, headers: { 'Idempotency-Key': 'a b' } }],
      ['POST', '/api/tasks/', { json: { title: 'first' }, headers: key }],
      ['POST', '/api/tasks/', { json: { title: 'other' }, headers: key }],
      ['GET', taskPath(own), {}],
      ['GET', taskPath(own), { headers: { 'If-None-Match': '*' } }],
      ['GET', taskPath(await createTask(creator.token)), {}],
      ['GET', '/api/tasks/abc/', {}],
      ['GET', '/api/tasks/999999999999/?x=1', {}],
      ['PUT', '/api/tasks/999999999999/', { json: { title: 'x' } }],
      ['PATCH', taskPath(own), badBody],
      ['PATCH', taskPath(own), { json: { title: 'x' } }],
      ['PATCH', taskPath(own), { json: { assigned_to: 2 ** 40 } }],
      ['PATCH', taskPath(own), { json: { title: 'x' }, headers: { 'If-Match': '"stale"' } }],
      ['DELETE', taskPath(own), {}],
      ['DELETE', taskPath(own), { headers: { 'If-Match': '"stale"' } }],
      ['DELETE', taskPath(task), {}],
      ['DELETE', '/api/tasks/abc/', {}],
    ]
    for (const [method, path, options] of calls) {
      // A session for each request, since the service may remember a refused token.
      const session = await logIn(assignee.username, assignee.password)
      await logOut(session.refreshToken)
      const { status, headers } = await request(method, path, { ...options, token: session.token })
      expect([method, path, options, status]).toEqual([method, path, options, 401])
      expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer\b.*error="invalid_token"/)
    }
    expect((await send('GET', taskPath(own), assignee.token)).body).toEqual(own)
    expect((await send('GET', taskPath(task), assignee.token)).body).toEqual(task)
  })

  test('media type and size before input, input before the task', async () => {
    const text = { 'Content-Type': 'text/plain' }
    for (const path of [taskPath(await assigned()), '/api/tasks/999999999999/', '/api/tasks/abc/']) {
      for (const method of ['PUT', 'PATCH']) {
        const status = async (query: string, options: RequestOptions) =>
          (await send(method, path + query, stranger.token, options)).status
        expect(await status('?x=1', { ...badBody, headers: text })).toBe(415)
        expect(await status('?x=1', large)).toBe(413)
        expect(await status('', badBody)).toBe(400)
        expect(await status('?x=1', { json: { title: 'x' } })).toBe(400)
        expect(await status('', { json: { title: 'x' } })).toBe(404)
      }
      expect((await send('DELETE', `${path}?x=1`, stranger.token)).status).toBe(400)
      expect((await send('GET', `${path}?x=1`, stranger.token)).status).toBe(400)
    }
  })

  test('visibility and permission before the precondition', async () => {
    const task = await assigned()
    const headers = { 'If-Match': '"stale"' }
    for (const method of ['PUT', 'PATCH', 'DELETE']) {
      const status = async (token: string) =>
        (await send(method, taskPath(task), token, { ...bodyOf(method), headers })).status
      expect([method, await status(stranger.token)]).toEqual([method, 404])
      expect([method, await status(assignee.token)]).toEqual([method, method === 'DELETE' ? 403 : 412])
      expect([method, await status(creator.token)]).toEqual([method, 412])
    }
  })

  test.each([
    ['a title that is none', { title: 5 }],
    ['an assignee who is no user', { assigned_to: 2 ** 40 }],
  ])('the body before the precondition: %s', async (_, json) => {
    const task = await assigned()
    const headers = { 'If-Match': '"stale"' }
    const { status } = await send('PATCH', taskPath(task), creator.token, { json, headers })
    expect(status).toBe(400)
  })
})
