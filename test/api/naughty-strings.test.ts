/** Any text in any member or parameter is stored unchanged or refused, and the refusal names the place. */
import { beforeAll, describe, expect, inject, test } from 'vitest'
import { createClient, newName, problemFaults, taskPath } from '../support/client.ts'
import { blank, storable, unstorable } from '../support/corpora/naughty-strings.ts'
import { numRuns } from '../support/property-runs.ts'

const { request, register, createTask } = createClient(inject('wide'))
let token: string
beforeAll(async () => {
  token = (await register()).token
})

type Answered = Awaited<ReturnType<typeof request>>

const shown = (text: string) => JSON.stringify(text).slice(0, 60)
const codePoints = (text: string) => [...text].length

/** A 400 that names only this place. */
function expectRefused(text: string, answer: Answered, place: Record<string, string>) {
  expect([shown(text), answer.status, problemFaults(answer)]).toEqual([shown(text), 400, []])
  for (const { detail, ...told } of answer.body.errors)
    expect([shown(text), told]).toEqual([shown(text), place])
}

/** CI tries all texts. */
const step = Math.max(1, Math.floor(300 / numRuns))
const chosen = Object.entries(storable).map(
  ([kind, texts]) => [kind, texts.filter((_, index) => index % step === 0)] as const,
)

describe.concurrent.each(chosen)('%s', (_, texts) => {
  test('are stored unchanged as title and description', async () => {
    for (const text of texts) {
      const created = await request('POST', '/api/tasks/', {
        token,
        json: { title: text, description: text },
      })
      expect([shown(text), created.status]).toEqual([shown(text), 201])
      expect(created.body).toMatchObject({ title: text.trim(), description: text })
      const path = taskPath(created.body)
      expect((await request('GET', path, { token })).body).toEqual(created.body)
      const changed = await request('PATCH', path, {
        token,
        json: { title: `x${text}x`, description: `${text} ` },
      })
      if (codePoints(text) > 253) expectRefused(text, changed, { pointer: '/title' })
      else
        expect(changed).toMatchObject({ status: 200, body: { title: `x${text}x`, description: `${text} ` } })
    }
  })

  test('are found by a search', async () => {
    for (const text of texts) {
      const { id, title } = await createTask(token, { title: text })
      const query = new URLSearchParams({ search: title, limit: '100' })
      const found = await request('GET', `/api/tasks/?${query}`, { token })
      if (codePoints(title) > 100 && found.status === 400) expectRefused(text, found, { parameter: 'search' })
      else
        expect([shown(text), found.body.results?.map((task: { id: number }) => task.id)]).toEqual([
          shown(text),
          expect.arrayContaining([id]),
        ])
    }
  })

  test('are taken or refused as Idempotency-Key, User-Agent and request id', async () => {
    for (const text of texts.filter((each) => /^[\x20-\x7e\xa0-\xff]*$/.test(each) && each.trim() === each)) {
      const headers = {
        'Idempotency-Key': text.slice(0, 200) + newName(),
        'User-Agent': text,
        'X-Request-Id': text,
      }
      const post = () => request('POST', '/api/tasks/', { token, json: { title: 'a' }, headers })
      const [first, again] = [await post(), await post()]
      expect([shown(text), first.status, again.status]).toEqual([shown(text), first.status, first.status])
      if (first.status === 201) expect(again.body).toEqual(first.body)
      else expectRefused(text, first, { header: 'Idempotency-Key' })
      expect(first.headers.get('X-Request-Id')).toMatch(/^[\x21-\x7e]+$/)
    }
  })

  test('are taken or refused as passwords', async () => {
    for (const text of texts.slice(0, 8)) {
      const username = newName()
      const registered = await request('POST', '/api/register/', { json: { username, password: text } })
      if (registered.status !== 201) {
        expectRefused(text, registered, { pointer: '/password' })
        continue
      }
      const login = (password: string) => request('POST', '/api/token/', { json: { username, password } })
      expect([shown(text), (await login(text)).status, (await login('wrong horse')).status]).toEqual([
        shown(text),
        200,
        401,
      ])
    }
  })

  test('are taken or refused as usernames and e-mail addresses', async () => {
    for (const text of texts) {
      const username = text.trim()
      const registered = await request('POST', '/api/register/', {
        json: { username: text, password: 'correct horse' },
      })
      if (/^[A-Za-z0-9@.+_-]{1,150}$/.test(username)) expect([201, 409]).toContain(registered.status)
      else expectRefused(text, registered, { pointer: '/username' })
      if (registered.status === 201) expect(registered.body.username).toBe(username)
      const changed = await request('PATCH', '/api/users/me/', { token, json: { email: text } })
      if (changed.status === 200) expect(changed.body.email).toBe(text)
      else expectRefused(text, changed, { pointer: '/email' })
    }
  })

  test('are valid searches for users and invalid refresh tokens', async () => {
    for (const text of texts) {
      const found = await request('GET', `/api/users/?${new URLSearchParams({ search: text })}`, { token })
      if (codePoints(text) > 150) expectRefused(text, found, { parameter: 'search' })
      else expect([shown(text), found.status]).toEqual([shown(text), 200])
      const refreshed = await request('POST', '/api/token/refresh/', { json: { refresh_token: text } })
      expect([shown(text), refreshed.status]).toEqual([shown(text), 401])
    }
  })

  test('are refused as parameters and cursors, except small numbers', async () => {
    for (const text of texts) {
      const right = [
        ...(/^\d{1,3}$/.test(text) && Number(text) > 0 && Number(text) <= 100 ? ['limit'] : []),
        ...(/^\d{1,15}$/.test(text) && Number(text) > 0 ? ['assigned_to'] : []),
      ]
      const names = ['status', 'ordering', 'created_after', 'limit', 'assigned_to']
      const query = new URLSearchParams(Object.fromEntries(names.map((name) => [name, text])))
      const { status, body } = await request('GET', `/api/tasks/?${query}`, { token })
      const told = body.errors.map(({ parameter }: { parameter: string }) => parameter)
      expect([shown(text), status, told.sort()]).toEqual([
        shown(text),
        400,
        names.filter((name) => !right.includes(name)).sort(),
      ])
      const list = await request('GET', `/api/tasks/?${new URLSearchParams({ cursor: text })}`, { token })
      expectRefused(text, list, { parameter: 'cursor' })
    }
  })

  test('are ids of no task', async () => {
    for (const text of texts) {
      // Dots alone would be removed from the URL.
      for (const part of [`${text}x`, `x/${text}`]) {
        const { status } = await request('GET', `/api/tasks/${encodeURIComponent(part)}/`, { token })
        expect([shown(part), status]).toEqual([shown(part), 404])
      }
    }
  })

  test('are refused as names of members and parameters', async () => {
    for (const text of texts) {
      const body = JSON.stringify({ title: 'a' }).replace('}', () => `,${JSON.stringify(text)}:1}`)
      const pointer = `/${text.replaceAll('~', '~0').replaceAll('/', '~1')}`
      const headers = { 'Content-Type': 'application/json' }
      expectRefused(text, await request('POST', '/api/tasks/', { token, body, headers }), { pointer })
      const query = new URLSearchParams({ [text]: '1' })
      expectRefused(text, await request('GET', `/api/tasks/?${query}`, { token }), { parameter: text })
    }
  })
})

/** Every place for text, with a request that is otherwise valid. */
const places: [string, (text: string) => Promise<Answered>, Record<string, string>][] = [
  ['title', (title) => request('POST', '/api/tasks/', { token, json: { title } }), { pointer: '/title' }],
  [
    'description',
    (description) => request('POST', '/api/tasks/', { token, json: { title: 'a', description } }),
    { pointer: '/description' },
  ],
  [
    'username',
    (username) => request('POST', '/api/register/', { json: { username, password: 'correct horse' } }),
    { pointer: '/username' },
  ],
  [
    'password',
    (end) =>
      request('POST', '/api/register/', { json: { username: newName(), password: `correct horse${end}` } }),
    { pointer: '/password' },
  ],
  ['email', (email) => request('PATCH', '/api/users/me/', { token, json: { email } }), { pointer: '/email' }],
  [
    'username at login',
    (username) => request('POST', '/api/token/', { json: { username, password: 'correct horse' } }),
    { pointer: '/username' },
  ],
  [
    'password at login',
    (password) => request('POST', '/api/token/', { json: { username: 'ann', password } }),
    { pointer: '/password' },
  ],
  [
    'current_password',
    (current_password) =>
      request('PATCH', '/api/users/me/', { token, json: { email: null, current_password } }),
    { pointer: '/current_password' },
  ],
  [
    'refresh_token',
    (refresh_token) => request('POST', '/api/token/refresh/', { json: { refresh_token } }),
    { pointer: '/refresh_token' },
  ],
  [
    'revoked token',
    (refresh_token) => request('POST', '/api/token/revoke/', { json: { refresh_token } }),
    { pointer: '/refresh_token' },
  ],
]

describe.each(places)('%s', (name, send, place) => {
  test.each(unstorable)('with %j is refused', async (text) => {
    for (const whole of [text, `a${text}b`]) expectRefused(whole, await send(whole), place)
  })

  test('of white space is refused where text is required', async () => {
    for (const text of blank) {
      const answer = await send(text)
      if (['title', 'username', 'email'].includes(name)) expectRefused(text, answer, place)
      else expect([shown(text), answer.status < 500]).toEqual([shown(text), true])
    }
  })
})
