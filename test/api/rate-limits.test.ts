/** The limits of users and addresses. Every test has users and addresses of its own. */
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  atOnce,
  type Client,
  createClient,
  inTurn,
  newName,
  statuses,
} from '../support/client.ts'

const target = inject('small')
const { user, anonymous, token: tokens, register, login } = target.limits

const newClient = (address?: string) => createClient(target, address)
/**
 * Registered from another address, so that no request of the user or of a new client has been counted yet.
 */
const newUser = () => newClient().register()
const getMe = (client: Client, token?: string) =>
  client.request('GET', '/api/users/me/', token === undefined ? {} : { token })
/** Requests that are left; asking counts as none. */
const remaining = async (client: Client, token?: string): Promise<number> =>
  (await client.request('GET', '/api/rate-limit/', token === undefined ? {} : { token })).body.remaining

const countOf = (status: number, answers: Answer[]) => statuses(answers).filter((s) => s === status).length

describe('a user', () => {
  test('has exactly the limit, and every answer tells what is left', async () => {
    const [client, { token }] = [newClient(), await newUser()]
    const answers = await inTurn(user.limit + 2, () => getMe(client, token))
    expect(statuses(answers)).toEqual([...Array(user.limit).fill(200), 429, 429])
    const policy = `"user";q=${user.limit};w=${user.windowSeconds}`
    answers.forEach(({ headers }, i) => {
      const left = Math.max(0, user.limit - i - 1)
      expect(headers.get('RateLimit-Policy')).toBe(policy)
      expect(headers.get('RateLimit')).toMatch(new RegExp(`^"user";r=${left};t=\\d+$`))
      expect(headers.get('X-RateLimit-Limit')).toBe(String(user.limit))
      expect(headers.get('X-RateLimit-Remaining')).toBe(String(left))
    })
  })

  test('is counted across sessions and addresses, and apart from other users', async () => {
    const [client, ann, bob] = [newClient(), await newUser(), await newUser()]
    const again = await newClient().logIn(ann.username, ann.password)
    const spent = await atOnce(user.limit, () => getMe(client, ann.token))
    const seen = {
      spent: statuses(spent),
      same: statuses([
        await getMe(newClient(), ann.token),
        await getMe(client, again.token),
        await client.request('POST', '/api/tasks/', { token: ann.token, json: { title: 'A task' } }),
      ]),
      others: statuses([await getMe(client, bob.token), await getMe(client)]),
      left: [await remaining(client, bob.token), await remaining(client)],
    }
    expect(seen).toEqual({
      spent: Array(user.limit).fill(200),
      same: [429, 429, 429],
      others: [200, 401],
      left: [user.limit - 1, anonymous.limit - 1],
    })
  })
})

describe('an address', () => {
  test('has exactly the limit for requests without a token, on any path', async () => {
    const paths = ['/api/users/me/', '/api/nothing/', '/api/', '/api/tasks/1/']
    const client = newClient()
    const answers = await inTurn(anonymous.limit + 1, (i) =>
      client.request('GET', paths[i % paths.length] ?? ''),
    )
    expect(statuses(answers.slice(0, 4))).toEqual([401, 404, 404, 401])
    expect(countOf(429, answers)).toBe(1)
    expect(answers.at(-1)?.status).toBe(429)
    expect(answers.map(({ headers }) => Number(headers.get('X-RateLimit-Remaining')))).toEqual(
      answers.map((_, i) => Math.max(0, anonymous.limit - 1 - i)),
    )
  })

  test('is counted apart from other addresses and from users', async () => {
    const [client, { token }] = [newClient(), await newUser()]
    const spent = await atOnce(anonymous.limit, () => getMe(client))
    const seen = {
      spent: statuses(spent),
      here: statuses([await getMe(client), await getMe(client, token)]),
      elsewhere: (await getMe(newClient())).status,
      left: await remaining(client, token),
    }
    expect(seen).toEqual({
      spent: Array(anonymous.limit).fill(401),
      here: [429, 200],
      elsewhere: 401,
      left: user.limit - 1,
    })
  })

  test('counts requests with bad tokens as anonymous, and refuses them before the tokens are checked', async () => {
    const [client, { token }] = [newClient(), await newUser()]
    const bad = ['nonsense', '..', `${token}x`, token.slice(0, -3)]
    const answers = await inTurn(anonymous.limit + 4, (i) => getMe(client, bad[i % bad.length]))
    expect(statuses(answers)).toEqual([...Array(anonymous.limit).fill(401), 429, 429, 429, 429])
  })

  test.each([
    ['an operation that needs a token', '/api/users/me/', 401],
    ['an unknown path', '/api/nothing/', 404],
  ])('counts a request with the token of an ended session as anonymous: %s', async (_, path, status) => {
    const [client, ended] = [newClient(), await newUser()]
    const { token } = await newClient().logIn(ended.username, ended.password)
    const json = { refresh_token: ended.refreshToken }
    await newClient().request('POST', '/api/token/revoke/', { json })
    const answers = await inTurn(3, () => client.request('GET', path, { token: ended.token }))
    const seen = [statuses(answers), await remaining(newClient(), token), await remaining(client)]
    expect(seen).toEqual([[status, status, status], user.limit, anonymous.limit - 3])
  })

  test.each([
    ['refreshing', '/api/token/refresh/', () => ({ refresh_token: 'nonsense' }), 401],
    ['revoking', '/api/token/revoke', () => ({ refresh_token: 'nonsense' }), 200],
    ['logging in', '/api/token/', () => ({ username: newName(), password: 'correct horse' }), 401],
  ])('counts %s at the token endpoints, with any token', async (_, path, json, status) => {
    const [client, { token }] = [newClient(), await newUser()]
    const answers = [
      await client.request('POST', path, { json: json(), token }),
      await client.request('POST', path, { json: json(), token: 'nonsense' }),
      await client.request('GET', path),
    ]
    const told = answers.map(({ headers }) => headers.get('RateLimit')?.split(';t')[0])
    const seen = {
      answers: statuses(answers),
      told,
      left: [await remaining(client), await remaining(client, token)],
    }
    // A failed login counts under other limits too, and the login limit is nearer.
    expect(seen).toMatchObject({ answers: [status, status, 405], left: [anonymous.limit, user.limit] })
    const isFailedLogin = path === '/api/token/'
    expect(seen.told).toEqual([
      ...[1, 2].map((i) =>
        isFailedLogin ? `"login";r=${login.limit - 1}` : `"token";r=${tokens.limit - i}`,
      ),
      `"token";r=${tokens.limit - 3}`,
    ])
  })

  test('counts a registration as anonymous, with any token', async () => {
    const [client, { token }] = [newClient(), await newUser()]
    const json = () => ({ username: newName(), password: 'correct horse' })
    const answers = [
      await client.request('POST', '/api/register/', { json: json(), token }),
      await client.request('POST', '/api/register', { json: json(), token: 'nonsense' }),
      await client.request('POST', '/api/register/', { json: {} }),
    ]
    const seen = [statuses(answers), await remaining(client), await remaining(client, token)]
    expect(seen).toEqual([[201, 201, 400], anonymous.limit - 3, user.limit])
  })

  test('has a limit of registrations that refuses no other request', async () => {
    const client = newClient()
    const send = (from: Client) =>
      from.request('POST', '/api/register/', { json: { username: newName(), password: 'correct horse' } })
    const made = await inTurn(register.limit, () => send(client))
    const refused = [await send(client), await client.request('GET', '/api/register/')]
    const seen = {
      made: statuses(made),
      told: made.map(({ headers }) => headers.get('RateLimit')?.split(';t')[0]),
      refused: refused.map(({ status, body }) => [status, body['violated-policies']]),
      // A refused request is not counted by any limit.
      left: await remaining(client),
      here: [
        (await getMe(client)).status,
        (await client.request('POST', '/api/token/', { json: {} })).status,
      ],
      elsewhere: (await send(newClient())).status,
    }
    expect(seen).toEqual({
      made: Array(register.limit).fill(201),
      told: Array.from({ length: register.limit }, (_, i) => `"register";r=${register.limit - 1 - i}`),
      refused: Array(2).fill([429, ['register']]),
      left: anonymous.limit - register.limit,
      here: [401, 400],
      elsewhere: 201,
    })
  })

  test('refuses a registration by the anonymous limit', async () => {
    const client = newClient()
    await inTurn(anonymous.limit, () => client.request('GET', '/api/nothing/'))
    const { status, body } = await client.request('POST', '/api/register/', { json: {} })
    const seen = [status, body['violated-policies']]
    expect(seen).toEqual([429, ['anonymous']])
  })
})

describe('/api/rate-limit/', () => {
  test("tells the caller's limit without counting, even if none is left", async () => {
    const [client, { token }] = [newClient(), await newUser()]
    const ask = () => client.request('GET', '/api/rate-limit/', { token })
    const fresh = await inTurn(user.limit + 2, ask)
    await getMe(client, token)
    const counted = await ask()
    await inTurn(user.limit, () => getMe(client, token))
    const spent = [await ask(), await ask()]
    const { limit, windowSeconds: window } = user
    const windowEnd = Math.ceil((target.stoppedAt + 1) / 1000 / window) * window
    const state = { limit, remaining: limit, window, reset: windowEnd }
    for (const { status, body, headers } of fresh) {
      expect(status).toBe(200)
      expect(body).toEqual(state)
      expect(headers.get('X-RateLimit-Remaining')).toBe(String(user.limit))
    }
    expect(counted.body).toEqual({ ...state, remaining: user.limit - 1 })
    for (const { status, body } of spent) {
      expect(status).toBe(200)
      expect(body).toEqual({ ...state, remaining: 0, reset: expect.any(Number) })
    }
  })

  test("tells the address's limit without a token, refuses a bad token, and counts neither", async () => {
    const client = newClient()
    const refused = await inTurn(3, () => client.request('GET', '/api/rate-limit/', { token: 'nonsense' }))
    const asked = await client.request('GET', '/api/rate-limit')
    expect(asked.body).toMatchObject({ limit: anonymous.limit, remaining: anonymous.limit })
    for (const { status, headers } of refused) {
      expect(status).toBe(401)
      expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer .*error="invalid_token"/)
      expect(headers.get('X-RateLimit-Remaining')).toBe(String(anonymous.limit))
    }
  })
})
