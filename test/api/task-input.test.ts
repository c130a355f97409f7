/** Bodies of POST, PUT and PATCH that are accepted, and those that are refused. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, newName, type Task, taskPath } from '../support/client.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, register, createTask } = client

let token: string
let userId: number
let task: Task
beforeAll(async () => {
  ;({ token, id: userId } = await register())
  task = await createTask(token)
})

const methods = ['POST', 'PUT', 'PATCH'] as const
const pathOf = (method: string) => (method === 'POST' ? '/api/tasks/' : taskPath(task))
const send = (method: string, json: unknown, query = '') =>
  request(method, pathOf(method) + query, { token, json })
const sendText = (method: string, body: string, contentType = 'application/json') =>
  request(method, pathOf(method), { token, body, headers: { 'Content-Type': contentType } })

function places({ status, headers, body }: Answer): string[] {
  expect([status, body]).toEqual([400, expect.objectContaining({ status: 400 })])
  expect(headers.get('Content-Type')).toMatch(/^application\/problem\+json\b/)
  for (const { detail } of body.errors) expect(detail).toEqual(expect.stringMatching(/\S/))
  return body.errors.map((error: Record<string, string>) => error.pointer ?? error.parameter).sort()
}

/** Sends it by each method, and expects that no task has changed. */
async function expectRefusal(json: Record<string, unknown>, pointers: string[]) {
  const before = await request('GET', '/api/tasks/?limit=100', { token })
  for (const method of methods) expect([method, places(await send(method, json))]).toEqual([method, pointers])
  expect((await request('GET', '/api/tasks/?limit=100', { token })).body).toEqual(before.body)
}

/** Sends it by each method and returns the tasks. */
async function accepted(values: Record<string, unknown>): Promise<Task[]> {
  const answers = await Promise.all(methods.map((method) => send(method, values)))
  expect(answers.map(({ status }) => status)).toEqual([201, 200, 200])
  return answers.map(({ body }) => body)
}

describe('title', () => {
  test.each([
    ['null', null],
    ['a number', 5],
    ['true', true],
    ['a list', ['Buy milk']],
    ['an object', {}],
    ['empty', ''],
    ['nothing but white space', ' \t\n\u00a0\u3000 '],
    ['of 256 characters', 'x'.repeat(256)],
    ['of 256 characters outside the basic plane', '🐎'.repeat(256)],
    ['with U+0000', 'Buy\0milk'],
    ['with a high surrogate alone', 'Buy \ud800 milk'],
    ['with a low surrogate alone', 'Buy milk \udfff'],
    ['with surrogates in the wrong order', '\udc0e\ud83d'],
  ])('refuses one that is %s', async (_, title) => {
    await expectRefusal({ title }, ['/title'])
  })

  test('is required by POST and PUT', async () => {
    for (const method of ['POST', 'PUT']) {
      expect(places(await send(method, { description: 'no title' }))).toEqual(['/title'])
      expect(places(await send(method, {}))).toEqual(['/title'])
    }
  })

  test.each([
    ['of 1 character', 'x'],
    ['of 255 characters', 'x'.repeat(255)],
    ['of 255 characters outside the basic plane', '🐎'.repeat(255)],
    ['of 255 code points, though fewer are seen', 'e\u0301'.repeat(127).concat('x')],
    ['in any script', 'ŁĄKA ß ﷽ 日本語 👩‍👩‍👧 \u202e \ue000 \u{10ffff}'],
    ['with line breaks, quotes and backslashes', `a\nb\t"c' \\ \\u0000 %_ \x01\x7f`],
    ['with noncharacters and a byte order mark', '\u{10FFFF}\uFFFE\uFEFFx'],
    ['that looks like SQL or markup', `'); drop table tasks; -- <b>&amp;</b> $1`],
  ])('is stored unchanged: %s', async (_, title) => {
    for (const { title: stored } of await accepted({ title })) expect(stored).toBe(title)
  })

  test('is trimmed before it is measured', async () => {
    for (const { title } of await accepted({ title: ' \t\n Buy  two\nbottles \r\n ' })) {
      expect(title).toBe('Buy  two\nbottles')
    }
    const longest = 'x'.repeat(255)
    for (const { title } of await accepted({ title: `   ${longest}   ` })) expect(title).toBe(longest)
  })
})

describe('description', () => {
  const title = newName('task')

  test.each([
    ['a number', 5],
    ['false', false],
    ['a list', []],
    ['of 10,001 characters', 'x'.repeat(10_001)],
    ['of 10,001 characters outside the basic plane', '🐎'.repeat(10_001)],
    ['with U+0000', '\0'],
    ['with a lone surrogate', '\ud83d'],
  ])('refuses one that is %s', async (_, description) => {
    await expectRefusal({ title, description }, ['/description'])
  })

  test.each([
    ['null', null],
    ['empty', ''],
    ['white space, untrimmed', ' \n two words \t '],
    ['of 10,000 characters', 'x'.repeat(10_000)],
    ['of 10,000 characters outside the basic plane', '🐎'.repeat(10_000)],
  ])('is stored unchanged: %s', async (_, description) => {
    for (const stored of await accepted({ title, description })) expect(stored.description).toBe(description)
  })
})

describe('status', () => {
  test.each(['done', 'Completed', ' pending', '', null, 1, true, ['pending']])(
    'refuses %j',
    async (status) => {
      await expectRefusal({ title: newName('task'), status }, ['/status'])
    },
  )
})

describe('assigned_to', () => {
  test('refuses the id of a user in another form', async () => {
    for (const assigned_to of [String(userId), userId + 0.5, [userId], { id: userId }])
      await expectRefusal({ title: newName('task'), assigned_to }, ['/assigned_to'])
  })

  test.each(['me', '', true, 0, -1, 2 ** 31, 2 ** 53, 2 ** 63, 1e300])('refuses %j', async (assigned_to) => {
    await expectRefusal({ title: newName('task'), assigned_to }, ['/assigned_to'])
  })

  test('refuses the id of a deleted account', async () => {
    const gone = await register()
    await client.deleteAccount(gone)
    await expectRefusal({ title: newName('task'), assigned_to: gone.id }, ['/assigned_to'])
  })
})

describe('members that are not writable', () => {
  const readOnly = {
    id: 7,
    created_by: 7,
    created_at: '2000-01-01T00:00:00.000Z',
    updated_at: '2000-01-01T00:00:00.000Z',
    completed_at: '2000-01-01T00:00:00.000Z',
  }
  const pointers = ['/completed_at', '/created_at', '/created_by', '/id', '/updated_at']

  test('POST refuses the read-only ones with any value', async () => {
    expect(places(await send('POST', { title: 'x', ...readOnly }))).toEqual(pointers)
    const nulls = Object.fromEntries(Object.keys(readOnly).map((name) => [name, null]))
    expect(places(await send('POST', { title: 'x', ...nulls }))).toEqual(pointers)
  })

  test.each([
    ['their own', readOnly],
    ['another', { id: 'x', created_by: null, created_at: [{}], updated_at: 5, completed_at: { a: false } }],
  ])('PUT and PATCH ignore the read-only ones of %s type', async (_, values) => {
    const before = await createTask(token)
    for (const [method, title] of [
      ['PUT', 'by PUT'],
      ['PATCH', 'by PATCH'],
    ] as const) {
      const answer = await request(method, taskPath(before), { token, json: { ...values, title } })
      expect(answer.status).toBe(200)
      expect(answer.body).toEqual({ ...before, title, updated_at: answer.body.updated_at })
      expect(answer.body.updated_at >= before.updated_at).toBe(true)
    }
    // A PUT needs its title, a PATCH any writable member.
    expect(places(await send('PUT', values))).toEqual(['/title'])
    expect((await send('PATCH', values)).status).toBe(400)
  })

  test('unknown ones are refused and named by a JSON pointer', async () => {
    const title = newName('task')
    await expectRefusal({ title, priority: 1 }, ['/priority'])
    await expectRefusal({ title, Status: 'pending' }, ['/Status'])
    await expectRefusal({ title, 'a/b~c': null }, ['/a~1b~0c'])
    await expectRefusal({ title, '': 1, constructor: 1, toString: 1 }, ['/', '/constructor', '/toString'])
    for (const method of methods) {
      expect(places(await sendText(method, `{"title":"x","__proto__":{"status":"completed"}}`))).toEqual([
        '/__proto__',
      ])
    }
  })

  const noneWritable = { title: undefined, description: undefined, status: undefined, assigned_to: undefined }
  test('PATCH without a writable member is refused', async () => {
    for (const json of [{}, { id: task.id }, { ...task, ...noneWritable }]) {
      expect([json, (await send('PATCH', json)).status]).toEqual([json, 400])
    }
    expect(places(await send('PATCH', { priority: 1 }))).toContain('/priority')
  })
})

describe('the request as a whole', () => {
  test('all errors are reported at once', async () => {
    const json = { title: ' ', description: 5, status: 'x', assigned_to: 'y', foo: 1, bar: 2 }
    const expected = words('/assigned_to /bar /description /foo /status /title dry_run stauts').sort()
    for (const method of methods) {
      expect([method, places(await send(method, json, '?dry_run=true&stauts='))]).toEqual([method, expected])
    }
  })
})
