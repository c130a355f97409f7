/** Idempotency-Key on POST /api/tasks/: a request that is sent again makes no second task. */
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  createClient,
  newName,
  type RequestOptions,
  type Task,
  taskPath,
} from '../support/client.ts'
import { numRuns } from '../support/property-runs.ts'
import { registerBeforeAll } from '../support/users.ts'

const client = createClient(inject('wide'))
const { request, register, logIn, deleteAccount } = client

const owner = registerBeforeAll(client)

const send = (key: string | undefined, json: unknown, as = owner.token) =>
  request('POST', '/api/tasks/', {
    token: as,
    json,
    ...(key === undefined ? {} : { headers: { 'Idempotency-Key': key } }),
  })
const sendText = (key: string, body: string, headers: Record<string, string> = {}, as = owner.token) =>
  request('POST', '/api/tasks/', {
    token: as,
    body,
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key, ...headers },
  })

const isReplay = ({ headers }: Answer) => headers.get('Idempotency-Replayed') === 'true'
const countTitles = async (title: string, as = owner.token): Promise<number> => {
  const query = new URLSearchParams({ search: title, count: 'true' })
  return (await request('GET', `/api/tasks/?${query}`, { token: as })).body.count
}

function expectFirst(answer: Answer) {
  expect(answer.status, JSON.stringify(answer.body)).toBe(201)
  expect(answer.headers.get('Idempotency-Replayed')).toBeNull()
  expect(answer.headers.get('Location')).toBe(taskPath(answer.body))
}

function expectReplay(answer: Answer, first: Answer) {
  expect(answer).toMatchObject({ status: 201, body: first.body })
  expect(isReplay(answer)).toBe(true)
  for (const name of ['ETag', 'Location', 'Content-Type', 'Cache-Control']) {
    expect([name, answer.headers.get(name)]).toEqual([name, first.headers.get(name)])
  }
}

describe('a repeat', () => {
  test('gets the answer to the first request and creates nothing', async () => {
    const json = { title: newName('task'), description: 'once', status: 'completed' }
    const first = await send('repeat', json)
    expectFirst(first)
    for (let i = 0; i < 3; i++) expectReplay(await send('repeat', json), first)
    expect(await countTitles(json.title)).toBe(1)
    expect((await request('GET', taskPath(first.body), { token: owner.token })).body).toEqual(first.body)
  })

  test('is recognised in another session and without the slash of the path', async () => {
    const json = { title: newName('task') }
    const first = await send('sessions', json)
    const other = await logIn(owner.username, owner.password)
    expectReplay(await send('sessions', json, other.token), first)
    const headers = { 'Idempotency-Key': 'sessions' }
    expectReplay(await request('POST', '/api/tasks', { token: owner.token, json, headers }), first)
  })

  test('without a key creates another task', async () => {
    const json = { title: newName('task') }
    for (let i = 0; i < 2; i++) expectFirst(await send(undefined, json))
    expect(await countTitles(json.title)).toBe(2)
  })

  test('waits for a concurrent first request', async () => {
    const title = newName('task')
    const [keys, repeats] = [Math.ceil(numRuns / 6), 8]
    for (let key = 0; key < keys; key++) {
      const json = { title: `${title} ${key}`, description: 'x'.repeat(key) }
      const answers = await Promise.all(
        Array.from({ length: repeats }, () => send(`concurrent-${key}`, json)),
      )
      const [first, ...more] = answers.filter((answer) => !isReplay(answer))
      if (!first) throw new Error('all are replays')
      expect(more).toEqual([])
      expectFirst(first)
      for (const answer of answers) if (answer !== first) expectReplay(answer, first)
    }
    expect(await countTitles(title)).toBe(keys)
  })

  test('with one of several concurrent keys replays the task of that key', async () => {
    const title = newName('task')
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => send(`several-${i % 10}`, { title: `${title} ${i % 10}` })),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(40).fill(201))
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(10)
    expect(answers.filter(isReplay)).toHaveLength(30)
    expect(await countTitles(title)).toBe(10)
  })

  test('gets the first answer after the task has changed', async () => {
    const json = { title: newName('task') }
    const first = await send('edited', json)
    const changed = await request('PATCH', taskPath(first.body), {
      token: owner.token,
      json: { title: `${json.title} 2` },
    })
    expect(changed.status).toBe(200)
    expectReplay(await send('edited', json), first)
    const now = await request('GET', taskPath(first.body), { token: owner.token })
    expect(now.body).toEqual(changed.body)
    expect(now.headers.get('ETag')).not.toBe(first.headers.get('ETag'))
  })

  test('gets the first answer after the task has been deleted', async () => {
    const json = { title: newName('task') }
    const first = await send('deleted', json)
    expect((await request('DELETE', taskPath(first.body), { token: owner.token })).status).toBe(204)
    expectReplay(await send('deleted', json), first)
    expect((await request('GET', taskPath(first.body), { token: owner.token })).status).toBe(404)
    expect(await countTitles(json.title)).toBe(0)
  })

  test('gets the first answer after the assignee has been deleted', async () => {
    const assignee = await register()
    const json = { title: newName('task'), assigned_to: assignee.id }
    const first = await send('unassigned', json)
    expectFirst(first)
    await deleteAccount(assignee)
    expectReplay(await send('unassigned', json), first)
    expect(first.body.assigned_to).toBe(assignee.id)
    expect(await countTitles(json.title)).toBe(1)
  })
})

describe('the body', () => {
  test('may differ in the order of members, white space and escapes', async () => {
    const title = newName('Ärger')
    const first = await sendText(
      'value',
      JSON.stringify({ title, description: 'a\n"b"', status: 'pending', assigned_to: null }),
    )
    expectFirst(first)
    const others = [
      JSON.stringify({ assigned_to: null, status: 'pending', description: 'a\n"b"', title }),
      JSON.stringify({ description: 'a\n"b"', title, assigned_to: null, status: 'pending' }, null, 4),
      ` {"title" :\t"${title.replace('Ä', '\\u00c4')}",\r\n"status":"p\\u0065nding",
        "description":"\\u0061\\u000a\\"b\\u0022", "assigned_to":null } `,
    ]
    for (const body of others) expectReplay(await sendText('value', body), first)
    const headers = { 'Content-Type': 'application/json; charset=UTF-8' }
    expectReplay(await sendText('value', others[0] ?? '', headers), first)
  })

  test.each<[string, (title: string) => Record<string, unknown>]>([
    ['another title', (title) => ({ title: `${title}!` })],
    ['a title that is another until trimmed', (title) => ({ title: ` ${title}` })],
    ['a title in another case', (title) => ({ title: title.toUpperCase() })],
    ['one member more', (title) => ({ title, description: 'more' })],
    ['a default spelt out', (title) => ({ title, status: 'pending' })],
    ['a null spelt out', (title) => ({ title, description: null })],
  ])('is refused with 422 when it has %s', async (name, another) => {
    const key = name.replaceAll(' ', '-')
    const title = newName('task')
    const first = await send(key, { title })
    expectFirst(first)
    const refused = await send(key, another(title))
    expect(refused.status).toBe(422)
    expect(refused.headers.get('Content-Type')).toMatch(/^application\/problem\+json\b/)
    expect(refused.headers.get('Idempotency-Replayed')).toBeNull()
    expectReplay(await send(key, { title }), first)
    expect(await countTitles(title)).toBe(1)
  })

  test('of one concurrent request wins: the same body replays it, another is refused', async () => {
    for (let round = 0; round < 10; round++) {
      const title = newName('task')
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, i) => send(`rivals-${round}`, { title: `${title} ${i % 2}` })),
      )
      const statuses = answers.map(({ status }) => status)
      const winner = statuses[0] === 201 ? 0 : 1
      expect(statuses).toEqual(Array.from({ length: 8 }, (_, i) => (i % 2 === winner ? 201 : 422)))
      expect(answers.filter(isReplay)).toHaveLength(3)
      expect(await countTitles(title)).toBe(1)
    }
  })

  test('is checked before the key: invalid requests are refused as without a key', async () => {
    const title = newName('task')
    expectFirst(await send('bound', { title }))
    expect((await send('bound', { title: 5 })).status).toBe(400)
    expect((await sendText('bound', '{')).status).toBe(400)
    expect((await sendText('bound', '{}', { 'Content-Type': 'text/plain' })).status).toBe(415)
    const assigned = await send('bound', { title, assigned_to: 2 ** 40 })
    expect([400, 422]).toContain(assigned.status)
    expect(isReplay(assigned)).toBe(false)
  })
})

test.each<[string, RequestOptions, number]>([
  ['malformed JSON', { body: '{', headers: { 'Content-Type': 'application/json' } }, 400],
  ['another media type', { body: '{"title":"x"}', headers: { 'Content-Type': 'text/plain' } }, 415],
  ['too large a body', { body: ' '.repeat(65_537), headers: { 'Content-Type': 'application/json' } }, 413],
  ['an invalid title', { json: { title: '' } }, 400],
  ['an assignee who is no user', { json: { title: 'x', assigned_to: 2 ** 40 } }, 400],
  ['a token that is none', { json: { title: 'x' }, token: 'nonsense' }, 401],
])('a request refused for %s does not use up the key', async (name, options, status) => {
  const key = name.replaceAll(' ', '-')
  const headers = { ...options.headers, 'Idempotency-Key': key }
  for (let i = 0; i < 2; i++) {
    const refused = await request('POST', '/api/tasks/', { token: owner.token, ...options, headers })
    expect(refused.status).toBe(status)
    expect(isReplay(refused)).toBe(false)
  }
  const json = { title: newName('task') }
  const first = await send(key, json)
  expectFirst(first)
  expectReplay(await send(key, json), first)
})

describe('a key', () => {
  test('belongs to one user', async () => {
    const json = { title: newName('task') }
    const others = await Promise.all([register(), register()])
    const first = await send('shared', json)
    expectFirst(first)
    for (const other of others) {
      const theirs = await send('shared', json, other.token)
      expectFirst(theirs)
      expect(theirs.body).toMatchObject({ created_by: other.id, title: json.title })
      expect((await send('shared', { title: 'another' }, other.token)).status).toBe(422)
      expect(await countTitles(json.title, other.token)).toBe(1)
    }
    expectReplay(await send('shared', json), first)
  })

  test('is compared as sent, with quotes and case', async () => {
    const keys = [
      ...`as-sent|"as-sent"|"as-sent|'as-sent'|AS-SENT|as-sent;q=1|as-sent,|as%2Dsent`.split('|'),
      '"as\\-sent"',
    ]
    const title = newName('task')
    const firsts = []
    for (const key of keys) {
      const first = await send(key, { title })
      expectFirst(first)
      firsts.push(first)
    }
    expect(await countTitles(title)).toBe(keys.length)
    for (const [i, key] of keys.entries()) {
      const first = firsts[i]
      if (first) expectReplay(await send(key, { title }), first)
    }
  })

  test('has 1 to 255 characters, all of which are compared', async () => {
    const title = newName('task')
    const every = Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i)).join('')
    for (const key of ['k', '7', every, `${'k'.repeat(254)}a`, `${'k'.repeat(254)}b`]) {
      expectFirst(await send(key, { title }))
      expect(isReplay(await send(key, { title }))).toBe(true)
    }
    expect(await countTitles(title)).toBe(5)
  })

  test.each([
    ['empty', ''],
    ['of 256 characters', 'k'.repeat(256)],
    ['with a space', 'two words'],
    ['with a tab', 'two\twords'],
    ['with a letter of Latin-1', 'schl\u00fcssel'],
    // Some clients write headers in UTF-8.
    ['with UTF-8 in it', Buffer.from('schlüssel 🔑').toString('latin1')],
  ])('is refused when it is %s', async (_, key) => {
    const title = newName('task')
    const { status, headers, body } = await send(key, { title })
    expect([status, headers.get('Content-Type')]).toEqual([400, 'application/problem+json'])
    expect(JSON.stringify(body)).toContain('Idempotency-Key')
    expect(await countTitles(title)).toBe(0)
  })
})

test('a key is ignored by other methods', async () => {
  const headers = { 'Idempotency-Key': 'methods' }
  const { body }: { body: Task } = await send('methods', { title: newName('task') })
  for (const title of ['one', 'two']) {
    const answer = await request('PATCH', taskPath(body), { token: owner.token, json: { title }, headers })
    expect(answer).toMatchObject({ status: 200, body: { title } })
    expect(isReplay(answer)).toBe(false)
  }
})
