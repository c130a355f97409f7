/** Entity tags and preconditions (RFC 9110 section 13). */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  createClient,
  type RequestOptions,
  etagOf as sentTag,
  type Task,
  taskPath,
} from '../support/client.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

let token: string
beforeAll(async () => {
  token = (await register()).token
})
const colleague = registerBeforeAll(client)

const etagOf = (answer: Answer) => {
  const etag = sentTag(client.target, answer)
  // Strong, as RFC 9110 section 8.8.3 writes one.
  expect(etag).toMatch(/^"[\x21\x23-\x7e\x80-\xff]*"$/)
  return etag
}
const get = (task: Task, headers: Record<string, string> = {}) =>
  request('GET', taskPath(task), { token, headers })
const patch = (task: Task, json: unknown, headers: Record<string, string> = {}) =>
  request('PATCH', taskPath(task), { token, json, headers })
const currentTag = async (task: Task) => etagOf(await get(task))

/** Forms of a tag that proxies send with a compressed body. */
const compressedForms: ((etag: string) => string)[] = [
  (etag) => `W/${etag}`,
  ...['-gzip', '-br', '-zstd', '-deflate', '--gzip', ';gz', '-gzip-br', '-br-gzip-gzip'].flatMap((suffix) => {
    const suffixed = (etag: string) => `${etag.slice(0, -1)}${suffix}"`
    return [suffixed, (etag: string) => `"a", W/${suffixed(etag)}`]
  }),
]

/** Every write, with a body that changes something. */
const writes: [method: string, options: () => RequestOptions][] = [
  ['PUT', () => ({ json: { title: crypto.randomUUID() } })],
  ['PATCH', () => ({ json: { description: crypto.randomUUID() } })],
  ['DELETE', () => ({})],
]

describe('the entity tag', () => {
  test('is the same in the answer to a write and the next read', async () => {
    const created = await request('POST', '/api/tasks/', { token, json: { title: 'Buy milk' } })
    const task: Task = created.body
    expect(await currentTag(task)).toBe(etagOf(created))
    expect(etagOf(await request('HEAD', taskPath(task), { token }))).toBe(etagOf(created))
    const put = await request('PUT', taskPath(task), { token, json: { title: 'Buy oat milk' } })
    expect(await currentTag(task)).toBe(etagOf(put))
    const patched = await patch(task, { status: 'completed' })
    expect(await currentTag(task)).toBe(etagOf(patched))
    expect(new Set([created, put, patched].map(etagOf)).size).toBe(3)
  })

  test('is new after every change, also after one back', async () => {
    const task = await createTask(token)
    const seen = [await currentTag(task)]
    const changes = [
      { title: 'New' },
      { description: 'new' },
      { status: 'completed' },
      { assigned_to: colleague.id },
      { description: null },
      { assigned_to: null },
      { status: 'pending' },
      { title: task.title },
    ]
    for (const json of changes) seen.push(etagOf(await patch(task, json)))
    expect(new Set(seen).size).toBe(seen.length)
  })

  test('changes with updated_at when the account of the assignee is deleted', async () => {
    const leaving = await register()
    const task = await createTask(token, { assigned_to: leaving.id })
    const before = await get(task)
    await client.deleteAccount(leaving)
    const after = await get(task, { 'If-None-Match': etagOf(before) })
    expect(after.status).toBe(200)
    expect(etagOf(after)).not.toBe(etagOf(before))
    expect(after.body.assigned_to).toBeNull()
    expect(after.body.updated_at > before.body.updated_at).toBe(true)
    expect((await patch(task, { title: 'x' }, { 'If-Match': etagOf(before) })).status).toBe(412)
  })

  test('differs between tasks of the same version', async () => {
    const tasks = await Promise.all(Array.from({ length: 8 }, () => createTask(token, { title: 'Same' })))
    expect(new Set(await Promise.all(tasks.map(currentTag))).size).toBe(tasks.length)
  })

  test('stays the same, like updated_at, after a write that changes nothing', async () => {
    const values = {
      title: 'Buy milk',
      description: 'two bottles',
      status: 'completed',
      assigned_to: colleague.id,
    } as const
    const task = await createTask(token, values)
    const etag = await currentTag(task)
    const repeats: [string, unknown][] = [
      ['PUT', task],
      ['PUT', values],
      ['PUT', { title: '  Buy milk ' }],
      ['PATCH', values],
      ['PATCH', { status: 'completed' }],
      ['PATCH', { title: 'Buy milk\n', updated_at: null }],
    ]
    for (const [method, json] of repeats) {
      const answer = await request(method, taskPath(task), { token, json })
      expect(answer).toMatchObject({ status: 200, body: task })
      expect(etagOf(answer)).toBe(etag)
    }
    expect((await get(task)).body).toEqual(task)
    expect(await currentTag(task)).toBe(etag)
    const empty = await createTask(token)
    const { body } = await patch(empty, { description: null, assigned_to: null, status: 'pending' })
    expect(body).toEqual(empty)
  })
})

describe('If-Match', () => {
  test.each(writes)('%s succeeds with the current tag', async (method, options) => {
    const headersOf: ((etag: string) => string)[] = [
      (etag) => etag,
      (etag) => `"another", ${etag}`,
      (etag) => `${etag},"another","a, b"`,
      (etag) => `W/"weak" ,, ${etag}`,
      () => '*',
      ...compressedForms,
    ]
    for (const ifMatch of headersOf) {
      const task = await createTask(token)
      const headers = { 'If-Match': ifMatch(await currentTag(task)) }
      const { status } = await request(method, taskPath(task), { token, ...options(), headers })
      expect([headers, status]).toEqual([headers, method === 'DELETE' ? 204 : 200])
    }
  })

  test.each(writes)(
    '%s is refused with a stale tag, and the answer has the current one',
    async (method, options) => {
      const task = await createTask(token)
      const first = await currentTag(task)
      const { body: changed } = await patch(task, { title: 'Changed by somebody else' })
      const current = await currentTag(task)
      const stale = [
        first,
        `W/${first}`,
        `${first.slice(0, -1)}-gzip"`,
        current.slice(1, -1),
        `w/${current}`,
        `${current.slice(0, -1)}-"`,
        `${current.slice(0, -1)}gzip"`,
        `${current.slice(0, -1)}-x"`,
        `${current}-gzip`,
        // The version alone.
        current.replace(/\..*(?=")/, ''),
        `${current.slice(0, -1)}0"`,
        `"*"`,
        '""',
        `"${current.slice(1, -1)}, "`,
      ]
      for (const ifMatch of stale) {
        const headers = { 'If-Match': ifMatch }
        const answer = await request(method, taskPath(task), { token, ...options(), headers })
        expect([headers, answer.status]).toEqual([headers, 412])
        expect(answer.headers.get('ETag')).toBe(current)
        expect(answer.headers.get('Content-Type')).toMatch(/^application\/problem\+json\b/)
      }
      expect((await get(task)).body).toEqual(changed)
      const headers = { 'If-Match': current }
      const { status } = await request(method, taskPath(task), { token, ...options(), headers })
      expect(status).toBeLessThan(300)
    },
  )

  test.each(writes)('%s of a deleted task is a 404, even with *', async (method, options) => {
    const task = await createTask(token)
    const etag = await currentTag(task)
    await request('DELETE', taskPath(task), { token })
    for (const ifMatch of [etag, '*']) {
      const headers = { 'If-Match': ifMatch }
      expect((await request(method, taskPath(task), { token, ...options(), headers })).status).toBe(404)
    }
  })

  test('is checked for a write that would change nothing', async () => {
    const task = await createTask(token)
    const first = await currentTag(task)
    const { body } = await patch(task, { title: 'Changed' })
    expect((await patch(task, { title: body.title }, { 'If-Match': first })).status).toBe(412)
  })

  test('lets exactly one of several concurrent writes succeed', async () => {
    for (let round = 0; round < 10; round++) {
      const task = await createTask(token)
      const headers = { 'If-Match': await currentTag(task) }
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, i) => patch(task, { description: `writer ${i}` }, headers)),
      )
      const winners = answers.filter(({ status }) => status === 200)
      expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(412)])
      const now = await get(task)
      expect(now.body).toEqual(winners[0]?.body)
      for (const { status, headers } of answers) {
        if (status === 412) expect(headers.get('ETag')).toBe(etagOf(now))
      }
    }
  })

  test('lets either a deletion or a concurrent change succeed', async () => {
    for (let round = 0; round < 10; round++) {
      const task = await createTask(token)
      const headers = { 'If-Match': await currentTag(task) }
      const [deleted, changed] = await Promise.all([
        request('DELETE', taskPath(task), { token, headers }),
        patch(task, { title: 'Changed' }, headers),
      ])
      expect([
        [204, 404],
        [412, 200],
      ]).toContainEqual([deleted.status, changed.status])
      expect((await get(task)).status).toBe(deleted.status === 204 ? 404 : 200)
    }
  })

  test('loses no update of writers that read, change and write', async () => {
    const task = await createTask(token, { description: '0' })
    const [writers, additions] = [6, 5]
    async function add() {
      for (let added = 0; added < additions; ) {
        const read = await get(task)
        const json = { description: String(Number(read.body.description) + 1) }
        const { status } = await patch(task, json, { 'If-Match': etagOf(read) })
        expect([200, 412]).toContain(status)
        if (status === 200) added++
      }
    }
    await Promise.all(Array.from({ length: writers }, add))
    expect((await get(task)).body.description).toBe(String(writers * additions))
  })
})

describe('If-None-Match', () => {
  test.each(['GET', 'HEAD'])('%s answers 304 with the current tag', async (method) => {
    const task = await createTask(token)
    const etag = await currentTag(task)
    const read = (ifNoneMatch: string) =>
      request(method, taskPath(task), { token, headers: { 'If-None-Match': ifNoneMatch } })
    const lists = [etag, `"another", ${etag}`, `"a", W/"b",W/${etag} , "c"`, '*']
    for (const same of [...lists, ...compressedForms.map((form) => form(etag))]) {
      const { status, body, headers } = await read(same)
      expect([same, status, body]).toEqual([same, 304, ''])
      expect(headers.get('ETag')).toBe(etag)
      expect(headers.get('Cache-Control')).toMatch(/private/)
    }
    for (const other of ['"another"', 'W/"another", "b"', etag.slice(1, -1), '""', `"*"`]) {
      expect([other, (await read(other)).status]).toEqual([other, 200])
    }
    await patch(task, { title: 'Changed' })
    expect((await read(etag)).status).toBe(200)
  })

  test('of an absent task is a 404', async () => {
    const path = '/api/tasks/999999999999/'
    expect((await request('GET', path, { token, headers: { 'If-None-Match': '*' } })).status).toBe(404)
  })

  // RFC 9110 section 13.1.2: for other methods than GET and HEAD, a condition that is false is a 412.
  test.each(writes)('%s is refused with the current tag', async (method, options) => {
    const task = await createTask(token)
    const etag = await currentTag(task)
    for (const ifNoneMatch of ['*', etag, ...compressedForms.map((form) => form(etag))]) {
      const headers = { 'If-None-Match': ifNoneMatch }
      const { status } = await request(method, taskPath(task), { token, ...options(), headers })
      expect([headers, status]).toEqual([headers, 412])
    }
    expect((await get(task)).body).toEqual(task)
  })
})

test('If-Match on a read is refused with a stale tag', async () => {
  const task = await createTask(token)
  const etag = await currentTag(task)
  expect((await get(task, { 'If-Match': etag })).status).toBe(200)
  await patch(task, { title: 'Changed' })
  const refused = await get(task, { 'If-Match': etag })
  expect(refused.status).toBe(412)
  expect(refused.headers.get('Cache-Status')).toMatch(/^task-api; /)
})
