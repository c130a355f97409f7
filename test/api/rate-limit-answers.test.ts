/** The headers and problem documents in which answers tell of limits. */
import { describe, expect, inject, test } from 'vitest'
import { atOnce, createClient, inTurn, newName, type RequestOptions, statuses } from '../support/client.ts'
import { countedRequests } from '../support/counted-requests.ts'

const target = inject('small')
const { user, anonymous, token: tokens, register, login } = target.limits
const newClient = (address?: string) => createClient(target, address)
const newUser = () => newClient().register()

describe.each(Object.entries(countedRequests(target)))(
  'the limit: %s',
  (_, { name, limit: { limit, windowSeconds }, burst, passed, make }) => {
    test('allows exactly that many requests of a burst, and names itself when it refuses', async () => {
      const send = await make()
      const answers = await atOnce(burst, send)
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

describe('the limit in the headers of an answer below /api', () => {
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

  test.each(calls)('of status %i is %s: %s %s', async (status, by, method, path, options = () => ({})) => {
    const { limit, windowSeconds } = limits[by]
    const token = by === 'user' || by === 'password' ? (await newUser()).token : undefined
    const sent = { ...(token !== undefined && { token }), ...options() }
    const answer = await newClient().request(method, path, sent)
    const { headers } = answer
    expect(answer.status).toBe(status)
    const left = path === '/api/rate-limit/' ? limit : limit - 1
    const now = target.stoppedAt / 1000
    const reset = Math.ceil((now + 0.001) / windowSeconds) * windowSeconds
    expect(headers.get('RateLimit-Policy')).toBe(`"${by}";q=${limit};w=${windowSeconds}`)
    expect(headers.get('RateLimit')).toBe(`"${by}";r=${left};t=${Math.ceil(reset - now)}`)
    expect(headers.get('X-RateLimit-Limit')).toBe(String(limit))
    expect(headers.get('X-RateLimit-Remaining')).toBe(String(left))
    expect(headers.get('X-RateLimit-Reset')).toBe(String(reset))
    expect(headers.get('Retry-After')).toBeNull()
  })
})

test('over the limit of an address all requests but those to the token endpoints are refused', async () => {
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
  const seen = statuses(answers)
  expect(seen).toEqual([429, 405, 429, 429, 429, 400, 200, 200])
})
