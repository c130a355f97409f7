/** What answers say about limits, and whether it is true. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  atOnce,
  createClient,
  inOneWindow,
  inTurn,
  newName,
  type RequestOptions,
  statuses,
} from '../support/client.ts'

const target = inject('small')
const { user, anonymous, token: tokens, register, login, username } = target.limits
const newClient = (address?: string) => createClient(target, address)
const newUser = () => newClient().register()

type Send = () => Promise<Answer>

/**
 * For each limit a request that counts under it and the status of those that pass; and how many to send at once, which
 * no other limit may refuse.
 */
const limited: Record<
  string,
  { name: string; limit: typeof user; burst: number; passed: number; make: () => Promise<Send> }
> = {
  user: {
    name: 'user',
    limit: user,
    burst: 3 * user.limit,
    passed: 200,
    async make() {
      const [client, { token }] = [newClient(), await newUser()]
      return () => client.request('GET', '/api/users/me/', { token })
    },
  },
  anonymous: {
    name: 'anonymous',
    limit: anonymous,
    burst: 3 * anonymous.limit,
    passed: 401,
    async make() {
      const client = newClient()
      return () => client.request('GET', '/api/users/me/')
    },
  },
  token: {
    name: 'token',
    limit: tokens,
    burst: 3 * tokens.limit,
    passed: 200,
    async make() {
      const client = newClient()
      return () => client.request('POST', '/api/token/revoke/', { json: { refresh_token: 'none' } })
    },
  },
  register: {
    name: 'register',
    limit: register,
    burst: Math.min(3 * register.limit, anonymous.limit),
    passed: 405,
    async make() {
      const client = newClient()
      return () => client.request('GET', '/api/register/')
    },
  },
  'failed logins of one name and address': {
    name: 'login',
    limit: login,
    burst: Math.min(3 * login.limit, tokens.limit),
    passed: 401,
    async make() {
      const client = newClient()
      const json = { username: newName(), password: 'wrong horse' }
      return () => client.request('POST', '/api/token/', { json })
    },
  },
  'failed logins of one name': {
    name: 'username',
    limit: username,
    burst: 3 * username.limit,
    passed: 401,
    async make() {
      const json = { username: newName(), password: 'wrong horse' }
      return () => newClient().request('POST', '/api/token/', { json })
    },
  },
  'wrong passwords of somebody logged in': {
    name: 'password',
    limit: login,
    burst: Math.min(3 * login.limit, user.limit),
    passed: 400,
    async make() {
      const { token } = await newUser()
      const json = { password: 'wrong horse' }
      return () => newClient().request('DELETE', '/api/users/me/', { token, json })
    },
  },
}

describe.each(Object.entries(limited))(
  'the limit: %s',
  (_, { name, limit: { limit, windowSeconds }, burst, passed, make }) => {
    test('lets exactly so many of a burst through, however parallel, and says which refused', async () => {
      const answers = await inOneWindow(windowSeconds, async () => {
        const send = await make()
        return atOnce(burst, send)
      })
      expect(statuses(answers).sort()).toEqual([
        ...Array(limit).fill(passed),
        ...Array(burst - limit).fill(429),
      ])
      for (const { headers, body } of answers.filter(({ status }) => status === 429)) {
        expect(headers.get('RateLimit-Policy')).toBe(`"${name}";q=${limit};w=${windowSeconds}`)
        expect(headers.get('Content-Type')).toMatch(/^application\/problem\+json/)
        expect(body).toEqual({
          type: 'https://iana.org/assignments/http-problem-types#quota-exceeded',
          title: 'Too Many Requests',
          status: 429,
          detail: expect.any(String),
          'violated-policies': [name],
          request_id: headers.get('X-Request-Id'),
        })
        expect(headers.get('X-RateLimit-Remaining')).toBe('0')
      }
    })
  },
)

// They wait most of the time, so all at once.
test.concurrent.each(Object.entries(limited))(
  'the limit: %s says truly when to come again, and counts none of those that come before',
  async (_, { limit: { limit, windowSeconds }, passed, make }) => {
    const send = await make()
    const timed = async () => {
      const sent = Date.now()
      const { status, headers } = await send()
      return { status, headers, sent, received: Date.now() }
    }
    // First with an empty window before, then with one that weighs.
    for (let round = 0; round < 2; round++) {
      let answer = await timed()
      for (let i = 0; answer.status !== 429 && i < 10 * limit; i++) answer = await timed()
      expect(answer.status).toBe(429)

      const { headers, sent, received } = answer
      const retryAfter = Number(headers.get('Retry-After'))
      const reset = Number(headers.get('X-RateLimit-Reset'))
      expect(headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
      expect(retryAfter).toBeLessThanOrEqual(2 * windowSeconds)
      // Both are whole seconds: the moment itself lies less than one before either.
      expect(reset).toBeGreaterThan(sent / 1000 + retryAfter - 1)
      expect(reset).toBeLessThan(received / 1000 + retryAfter + 1)
      expect(headers.get('RateLimit')).toMatch(new RegExp(`^"[a-z]+";r=0;t=${retryAfter}$`))
      expect(headers.get('RateLimit-Policy')).toMatch(new RegExp(`^"[a-z]+";q=${limit};w=${windowSeconds}$`))
      expect(headers.get('X-RateLimit-Limit')).toBe(String(limit))

      const due = received + retryAfter * 1000
      while (answer.status === 429 && answer.sent < due) {
        await sleep(Math.max(1, Math.min(100, due - Date.now())))
        answer = await timed()
      }
      expect(answer.status).toBe(passed)
      expect(answer.received).toBeGreaterThan(sent + (retryAfter - 1) * 1000)
    }
  },
)

describe('every answer below /api tells its limit', () => {
  const text = { body: 'hello', headers: { 'Content-Type': 'text/plain' } }
  const large = { body: 'x'.repeat(70_000), headers: { 'Content-Type': 'application/json' } }
  const credentials = () => ({ username: newName(), password: 'correct horse' })
  const limits = { user, password: login, anonymous, token: tokens, register }
  const calls: [
    status: number,
    by: keyof typeof limits,
    method: string,
    path: string,
    (() => RequestOptions)?,
  ][] = [
    [200, 'user', 'GET', '/api/users/me/'],
    [200, 'user', 'GET', '/api/tasks/'],
    [200, 'user', 'GET', '/api/rate-limit/'],
    [200, 'anonymous', 'GET', '/api/rate-limit/'],
    [201, 'user', 'POST', '/api/tasks/', () => ({ json: { title: 'A task' } })],
    [201, 'register', 'POST', '/api/register/', () => ({ json: credentials() })],
    [204, 'password', 'DELETE', '/api/users/me/', () => ({ json: { password: 'correct horse' } })],
    [400, 'user', 'PATCH', '/api/users/me/', () => ({ json: {} })],
    [400, 'user', 'GET', '/api/users/?nonsense=1'],
    [400, 'token', 'POST', '/api/token/', () => ({ json: {} })],
    [401, 'anonymous', 'GET', '/api/users/me/'],
    [401, 'anonymous', 'GET', '/api/tasks/', () => ({ token: 'nonsense' })],
    [401, 'token', 'POST', '/api/token/refresh/', () => ({ json: { refresh_token: 'x' } })],
    [404, 'user', 'GET', '/api/tasks/999999999/'],
    [404, 'user', 'GET', '/api/nothing/'],
    [404, 'anonymous', 'GET', '/api/nothing'],
    [404, 'anonymous', 'GET', '/api/'],
    [404, 'anonymous', 'GET', '/api'],
    [405, 'user', 'PUT', '/api/users/me/'],
    [405, 'token', 'GET', '/api/token/'],
    [405, 'anonymous', 'PUT', '/api/tasks/'],
    [204, 'user', 'OPTIONS', '/api/users/me/'],
    [204, 'anonymous', 'OPTIONS', '/api/tasks/'],
    [413, 'user', 'PATCH', '/api/users/me/', () => large],
    [415, 'register', 'POST', '/api/register/', () => text],
  ]

  test.each(calls)('%i by the limit %s: %s %s', async (status, by, method, path, options = () => ({})) => {
    const limit = limits[by]
    const { begun, answer, answered } = await inOneWindow(limit.windowSeconds, async () => {
      const token = by === 'user' || by === 'password' ? (await newUser()).token : undefined
      const begun = Date.now() / 1000
      const sent = { ...(token !== undefined && { token }), ...options() }
      const answer = await newClient().request(method, path, sent)
      return { begun, answer, answered: Date.now() / 1000 }
    })
    const { headers } = answer
    expect(answer.status).toBe(status)
    const left = path === '/api/rate-limit/' ? limit.limit : limit.limit - 1
    expect(headers.get('RateLimit-Policy')).toBe(`"${by}";q=${limit.limit};w=${limit.windowSeconds}`)
    const [, seconds] = new RegExp(`^"${by}";r=${left};t=(\\d+)$`).exec(headers.get('RateLimit') ?? '') ?? []
    expect(headers.get('X-RateLimit-Limit')).toBe(String(limit.limit))
    expect(headers.get('X-RateLimit-Remaining')).toBe(String(left))
    const reset = Number(headers.get('X-RateLimit-Reset'))
    expect(reset).toBe(Math.ceil((begun + 0.001) / limit.windowSeconds) * limit.windowSeconds)
    // From a moment in between, rounded.
    expect(Number(seconds)).toBeGreaterThan(reset - answered - 1)
    expect(Number(seconds)).toBeLessThan(reset - begun + 1)
    expect(headers.get('Retry-After')).toBeNull()
  })
})

test('over the limit of an address all is refused but the token endpoints, whatever else is wrong with it', async () => {
  const seen = await inOneWindow(anonymous.windowSeconds, async () => {
    const [client, { username, password }] = [newClient(), await newUser()]
    await inTurn(anonymous.limit, () => client.request('GET', '/api/nothing/'))
    const answers = [
      await client.request('GET', '/api/nothing/'),
      await client.request('GET', '/api/token/'),
      await client.request('GET', '/api/users/me/'),
      await client.request('GET', '/api/users/me/', { token: 'nonsense' }),
      await client.request('POST', '/api/register/', {
        body: 'x',
        headers: { 'Content-Type': 'text/plain' },
      }),
      await client.request('POST', '/api/token/', { json: {} }),
      await client.request('POST', '/api/token/', { json: { username, password } }),
      await client.request('GET', '/api/rate-limit/'),
    ]
    return statuses(answers)
  })
  expect(seen).toEqual([429, 405, 429, 429, 429, 400, 200, 200])
})

test('a registration over two limits names the one to wait for longest', async () => {
  const { first, both } = await inOneWindow(register.windowSeconds, async () => {
    const client = newClient()
    const send = () => client.request('GET', '/api/register/')
    await inTurn(register.limit, send)
    const first = await send()
    await inTurn(anonymous.limit - register.limit, () => client.request('GET', '/api/nothing/'))
    return { first, both: await send() }
  })
  expect(statuses([first, both])).toEqual([429, 429])
  expect(both.body['violated-policies']).toEqual(['register'])
  expect(both.headers.get('X-RateLimit-Reset')).toBe(first.headers.get('X-RateLimit-Reset'))
})
