/** Kinds of texts as in test suites for JSON parsers (RFC 8259): invalid, valid, and left to the parser. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, problemFaults, taskPath } from '../support/client.ts'
import { bytes, malformedDocuments, malformedValues, type Sent } from '../support/corpora/json.ts'
import { registerBeforeAll } from '../support/users.ts'
import { words } from '../support/words.ts'

const client = createClient(inject('wide'))
const { request, createTask } = client
const user = registerBeforeAll(client)

const send = (method: string, path: string, body: Sent, token?: string) =>
  request(method, path, {
    body: new Uint8Array(Buffer.from(body)),
    headers: { 'Content-Type': 'application/json' },
    ...(token === undefined ? {} : { token }),
  })
const create = (body: Sent) => send('POST', '/api/tasks/', body, user.token)

describe('invalid JSON', () => {
  const show = (sent: Sent) =>
    typeof sent === 'string' ? JSON.stringify(sent.slice(0, 40)) : sent.toString('latin1').slice(0, 40)
  const all = [
    ...malformedValues.map((value) => bytes('{"title":"a","description":', value, '}')),
    ...malformedDocuments,
  ]
  test.each([
    ['POST', '/api/tasks/', true],
    ['PATCH', '/api/users/me/', true],
    ['POST', '/api/register/', false],
    ['POST', '/api/token/', false],
  ] as const)('is refused by %s %s', async (method, path, authenticated) => {
    for (const body of all) {
      const answer = await send(method, path, body, authenticated ? user.token : undefined)
      expect([show(body), answer.status, problemFaults(answer)]).toEqual([show(body), 400, []])
      // No member can be named.
      expect([show(body), answer.body.errors]).toEqual([show(body), undefined])
    }
  })
})

test.each([
  ...words('null true false 0 -0 1 1.5 1E+2 1e-2 -1e-999 1e999 -1E999 0.1e1 "" "a"'),
  ...[
    '123456789012345678901234567890',
    `1${'0'.repeat(400)}`,
    `0.${'3'.repeat(400)}`,
    `1e${'9'.repeat(400)}`,
  ],
  ...[
    ...words('[] [null] {} {"a":{}} {"":0} {"a":1,"a":2}'),
    ' \t\r\n[ ]\n',
    '"\\u0000"',
    '"\\ud800"',
    '"\\/"',
    '"\u007f"',
  ],
  `${'['.repeat(30_000)}${']'.repeat(30_000)}`,
  `${'{"a":'.repeat(10_000)}0${'}'.repeat(10_000)}`,
  `[${'0,'.repeat(30_000)}0]`,
])('%s is valid JSON, so only the unknown member is refused', async (value) => {
  const answer = await create(`{"title":"a","nope":${value}}`)
  expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/nope' }] } })
  expect(answer.body.errors).toHaveLength(1)
  // As an ignored member, and as a member of each type.
  const path = taskPath(await createTask(user.token))
  expect((await send('PUT', path, `{"title":"a","id":${value}}`, user.token)).status).toBe(200)
  for (const member of ['title', 'description', 'status', 'assigned_to']) {
    const changed = await send('PATCH', path, `{"${member}":${value}}`, user.token)
    expect([member, [200, 400].includes(changed.status)]).toEqual([member, true])
    if (changed.status === 400) expect(changed.body.errors[0].pointer).toBe(`/${member}`)
  }
})

/** Bodies and the title of the task; null for a 400. */
test.each<[string, Sent, string | null]>([
  ['a byte order mark before it', bytes([0xef, 0xbb, 0xbf], '{"title":"a"}'), 'a'],
  ['white space around it', ' \t\r\n{"title":"a"}\n\n', 'a'],
  ['a member twice', '{"title":"a","title":"b"}', 'b'],
  ['a member twice, once escaped', '{"title":"a","\\u0074itle":"b"}', 'b'],
  ['a member twice, the first valid', '{"title":"a","title":7}', null],
  [
    'escapes of every kind',
    '{"title":"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00x"}',
    '"\\/\b\f\n\r\té😀x',
  ],
  ['controls that need no escape', '{"title":"a\u007f\u0080\u2028\u2029b"}', 'a\u007f\u0080\u2028\u2029b'],
  ['no characters', '{"title":"\ufffe\uffff\u{10ffff}"}', '\ufffe\uffff\u{10ffff}'],
  ['a replacement character', '{"title":"\ufffd"}', '\ufffd'],
  ['a high surrogate alone', '{"title":"\\ud83d"}', null],
  ['a low surrogate alone', '{"title":"a\\ude00b"}', null],
  ['swapped surrogates', '{"title":"\\ude00\\ud83d"}', null],
  ['U+0000', '{"title":"a\\u0000b"}', null],
  ['a prototype', '{"title":"a","__proto__":{"title":"b"}}', null],
  ['a constructor', '{"title":"a","constructor":{"prototype":{}}}', null],
  ['a prototype alone', '{"__proto__":{"title":"b"}}', null],
  ['an empty name', '{"title":"a","":1}', null],
  ['a name in capitals', '{"Title":"a"}', null],
  ['a name with a blank', '{"title ":"a"}', null],
])('with %s', async (_, body, title) => {
  const answer = await create(body)
  if (title === null) expect([answer.status, problemFaults(answer)]).toEqual([400, []])
  else expect(answer).toMatchObject({ status: 201, body: { title } })
})

test('numbers are compared by value: an id may be written in another way', async () => {
  for (const spelled of [
    `${user.id}`,
    `${user.id}.0`,
    `${user.id}e0`,
    `${user.id}00E-2`,
    `0.0${user.id}e${1 + String(user.id).length}`,
  ])
    expect(await create(`{"title":"a","assigned_to":${spelled}}`)).toMatchObject({
      status: 201,
      body: { assigned_to: user.id },
    })
  for (const none of [
    ...words(`
      0 -0 -1 1.5 1e400 9007199254740991 9007199254740993 9223372036854775807 9223372036854775808
      1e-400
    `),
    `-${user.id}`,
  ])
    expect(await create(`{"title":"a","assigned_to":${none}}`)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: '/assigned_to' }] },
    })
})

test('an Idempotency-Key takes the same JSON value in another spelling as a repeat', async () => {
  const key = { 'Idempotency-Key': newName() }
  const post = (body: string) =>
    request('POST', '/api/tasks/', {
      token: user.token,
      body,
      headers: { ...key, 'Content-Type': 'application/json' },
    })
  const first = await post('{"title":"é","assigned_to":null}')
  expect(first.status).toBe(201)
  for (const body of [
    ' {"assigned_to" : null, "title":"\\u00e9"}\n',
    '{"title":"x","assigned_to":null,"title":"\\u00E9"}',
  ])
    expect(await post(body)).toMatchObject({ status: 201, body: { id: first.body.id } })
  expect((await post('{"title":"e\\u0301","assigned_to":null}')).status).toBe(422)
})
