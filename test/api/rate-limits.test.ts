/** The limits of users and addresses. Every test counts in a window of its own users and addresses. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  atOnce,
  type Client,
  createClient,
  inOneWindow,
  inTurn,
  newName,
  statuses,
} from '../support/client.ts'

const target = inject('small')
const { user, anonymous, token: tokens, register, login } = target.limits

/** A client at an address that has not been seen yet. */
const newClient = (address?: string) => createClient(target, address)
/** Registered from elsewhere: neither the user nor the client's address has been counted yet. */
const newUser = () => newClient().register()
const getMe = (client: Client, token?: string) =>
  client.request('GET', '/api/users/me/', token === undefined ? {} : { token })
/** What is left, asked for nothing. */
const remaining = async (client: Client, token?: string): Promise<number> =>
  (await client.request('GET', '/api/rate-limit/', token === undefined ? {} : { token })).body.remaining

const countOf = (status: number, answers: Answer[]) => statuses(answers).filter((s) => s === status).length

describe('a user', () => {
  test('has exactly the limit, told down to nothing', async () => {
    const answers = await inOneWindow(user.windowSeconds, async () => {
      const [client, { token }] = [newClient(), await newUser()]
      return inTurn(user.limit + 2, () => getMe(client, token))
    })
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

  test('is counted in all sessions and at all addresses, and apart from others', async () => {
    const seen = await inOneWindow(user.windowSeconds, async () => {
      const [client, ann, bob] = [newClient(), await newUser(), await newUser()]
      const again = await newClient().logIn(ann.username, ann.password)
      const spent = await atOnce(user.limit, () => getMe(client, ann.token))
      return {
        spent: statuses(spent),
        same: statuses([
          await getMe(newClient(), ann.token),
          await getMe(client, again.token),
          await client.request('POST', '/api/tasks/', { token: ann.token, json: { title: 'A task' } }),
        ]),
        others: statuses([await getMe(client, bob.token), await getMe(client)]),
        left: [await remaining(client, bob.token), await remaining(client)],
      }
    })
    expect(seen).toEqual({
      spent: Array(user.limit).fill(200),
      same: [429, 429, 429],
      others: [200, 401],
      left: [user.limit - 1, anonymous.limit - 1],
    })
  })
})

describe('an address', () => {
  test('has exactly the limit without a token, whatever is asked for', async () => {
    const paths = ['/api/users/me/', '/api/nothing/', '/api/', '/api/tasks/1/']
    const answers = await inOneWindow(anonymous.windowSeconds, () => {
      const client = newClient()
      return inTurn(anonymous.limit + 1, (i) => client.request('GET', paths[i % paths.length] ?? ''))
    })
    expect(statuses(answers.slice(0, 4))).toEqual([401, 404, 404, 401])
    expect(countOf(429, answers)).toBe(1)
    expect(answers.at(-1)?.status).toBe(429)
    expect(answers.map(({ headers }) => Number(headers.get('X-RateLimit-Remaining')))).toEqual(
      answers.map((_, i) => Math.max(0, anonymous.limit - 1 - i)),
    )
  })

  test('is counted apart from other addresses and from users', async () => {
    const seen = await inOneWindow(anonymous.windowSeconds, async () => {
      const [client, { token }] = [newClient(), await newUser()]
      const spent = await atOnce(anonymous.limit, () => getMe(client))
      return {
        spent: statuses(spent),
        here: statuses([await getMe(client), await getMe(client, token)]),
        elsewhere: (await getMe(newClient())).status,
        left: await remaining(client, token),
      }
    })
    expect(seen).toEqual({
      spent: Array(anonymous.limit).fill(401),
      here: [429, 200],
      elsewhere: 401,
      left: user.limit - 1,
    })
  })

  test('counts bad tokens as no token, and refuses them before it looks at them', async () => {
    const answers = await inOneWindow(anonymous.windowSeconds, async () => {
      const [client, { token }] = [newClient(), await newUser()]
      const bad = ['nonsense', '..', `${token}x`, token.slice(0, -3)]
      return inTurn(anonymous.limit + 4, (i) => getMe(client, bad[i % bad.length]))
    })
    expect(statuses(answers)).toEqual([...Array(anonymous.limit).fill(401), 429, 429, 429, 429])
  })

  test.each([
    ['is refused for it', '/api/users/me/', 401],
    ['is not even asked for it', '/api/nothing/', 404],
  ])('counts the token of a session that has ended as no token, where it %s', async (_, path, status) => {
    const seen = await inOneWindow(anonymous.windowSeconds, async () => {
      const [client, ended] = [newClient(), await newUser()]
      const { token } = await newClient().logIn(ended.username, ended.password)
      const json = { refresh_token: ended.refreshToken }
      await newClient().request('POST', '/api/token/revoke/', { json })
      const answers = await inTurn(3, () => client.request('GET', path, { token: ended.token }))
      return [statuses(answers), await remaining(newClient(), token), await remaining(client)]
    })
    expect(seen).toEqual([[status, status, status], user.limit, anonymous.limit - 3])
  })

  test.each([
    ['refreshing', '/api/token/refresh/', () => ({ refresh_token: 'nonsense' }), 401],
    ['revoking', '/api/token/revoke', () => ({ refresh_token: 'nonsense' }), 200],
    ['logging in', '/api/token/', () => ({ username: newName(), password: 'correct horse' }), 401],
  ])('counts %s at the token endpoints, whatever token comes with it', async (_, path, json, status) => {
    const seen = await inOneWindow(tokens.windowSeconds, async () => {
      const [client, { token }] = [newClient(), await newUser()]
      const answers = [
        await client.request('POST', path, { json: json(), token }),
        await client.request('POST', path, { json: json(), token: 'nonsense' }),
        await client.request('GET', path),
      ]
      const told = answers.map(({ headers }) => headers.get('RateLimit')?.split(';t')[0])
      return {
        answers: statuses(answers),
        told,
        left: [await remaining(client), await remaining(client, token)],
      }
    })
    // A login that fails counts under other limits besides, of which one is nearer.
    const told = status === 401 && path === '/api/token/' ? [login.limit - 1, login.limit - 1] : undefined
    expect(seen).toMatchObject({ answers: [status, status, 405], left: [anonymous.limit, user.limit] })
    expect(seen.told).toEqual([
      ...(told?.map((left) => `"login";r=${left}`) ?? [1, 2].map((i) => `"token";r=${tokens.limit - i}`)),
      `"token";r=${tokens.limit - 3}`,
    ])
  })

  test('counts registering among all that is asked without a token, whatever token comes with it', async () => {
    const seen = await inOneWindow(anonymous.windowSeconds, async () => {
      const [client, { token }] = [newClient(), await newUser()]
      const json = () => ({ username: newName(), password: 'correct horse' })
      const answers = [
        await client.request('POST', '/api/register/', { json: json(), token }),
        await client.request('POST', '/api/register', { json: json(), token: 'nonsense' }),
        await client.request('POST', '/api/register/', { json: {} }),
      ]
      return [statuses(answers), await remaining(client), await remaining(client, token)]
    })
    expect(seen).toEqual([[201, 201, 400], anonymous.limit - 3, user.limit])
  })

  test('has a limit of registrations besides, which keeps it from nothing else', async () => {
    const seen = await inOneWindow(Math.max(register.windowSeconds, anonymous.windowSeconds), async () => {
      const client = newClient()
      const send = (from: Client) =>
        from.request('POST', '/api/register/', { json: { username: newName(), password: 'correct horse' } })
      const made = await inTurn(register.limit, () => send(client))
      const refused = [await send(client), await client.request('GET', '/api/register/')]
      return {
        made: statuses(made),
        told: made.map(({ headers }) => headers.get('RateLimit')?.split(';t')[0]),
        refused: refused.map(({ status, body }) => [status, body['violated-policies']]),
        // A request that is refused is counted nowhere.
        left: await remaining(client),
        here: [
          (await getMe(client)).status,
          (await client.request('POST', '/api/token/', { json: {} })).status,
        ],
        elsewhere: (await send(newClient())).status,
      }
    })
    expect(seen).toEqual({
      made: Array(register.limit).fill(201),
      told: Array.from({ length: register.limit }, (_, i) => `"register";r=${register.limit - 1 - i}`),
      refused: Array(2).fill([429, ['register']]),
      left: anonymous.limit - register.limit,
      here: [401, 400],
      elsewhere: 201,
    })
  })

  test('counts a registration that is refused for all else nowhere', async () => {
    const seen = await inOneWindow(Math.max(register.windowSeconds, anonymous.windowSeconds), async () => {
      const client = newClient()
      await inTurn(anonymous.limit, () => client.request('GET', '/api/nothing/'))
      const { status, body } = await client.request('POST', '/api/register/', { json: {} })
      return [status, body['violated-policies']]
    })
    expect(seen).toEqual([429, ['anonymous']])
  })
})

describe('/api/rate-limit/', () => {
  test("tells the caller's limit and costs nothing, not even where nothing is left", async () => {
    const { fresh, counted, spent, begun } = await inOneWindow(user.windowSeconds, async () => {
      const begun = Date.now()
      const [client, { token }] = [newClient(), await newUser()]
      const ask = () => client.request('GET', '/api/rate-limit/', { token })
      const fresh = await inTurn(user.limit + 2, ask)
      await getMe(client, token)
      const counted = await ask()
      await inTurn(user.limit, () => getMe(client, token))
      return { fresh, counted, spent: [await ask(), await ask()], begun }
    })
    const windowEnd = Math.ceil((begun + 1) / 1000 / user.windowSeconds) * user.windowSeconds
    const state = { limit: user.limit, remaining: user.limit, window: user.windowSeconds, reset: windowEnd }
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

  test("tells an address's without a token, and refuses a bad one, counting neither", async () => {
    const { asked, refused } = await inOneWindow(anonymous.windowSeconds, async () => {
      const client = newClient()
      const refused = await inTurn(3, () => client.request('GET', '/api/rate-limit/', { token: 'nonsense' }))
      return { refused, asked: await client.request('GET', '/api/rate-limit') }
    })
    expect(asked.body).toMatchObject({ limit: anonymous.limit, remaining: anonymous.limit })
    for (const { status, headers } of refused) {
      expect(status).toBe(401)
      expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer .*error="invalid_token"/)
      expect(headers.get('X-RateLimit-Remaining')).toBe(String(anonymous.limit))
    }
  })
})

test('the window slides: what was counted in the last one weighs by the time that is left of it', async () => {
  const windowMs = user.windowSeconds * 1000
  const windowNow = () => Math.floor(Date.now() / windowMs)
  const room = () => user.limit - Math.floor((1 - (Date.now() % windowMs) / windowMs) * user.limit)

  async function count() {
    const client = newClient()
    const { token, full } = await inOneWindow(user.windowSeconds, async () => {
      const { token } = await newUser()
      await atOnce(2 * user.limit, () => getMe(client, token))
      return { token, full: windowNow() }
    })
    let first: Answer
    do {
      await sleep(20)
      first = await getMe(client, token)
    } while (first.status === 429)
    // Whenever that is: as many pass as the formula says for the time of the first and of the last of them.
    await sleep(Math.max(0, windowMs * 0.3 - (Date.now() % windowMs)))
    const atLeast = room()
    const told = await remaining(client, token)
    const more = await inTurn(user.limit, () => getMe(client, token))
    const atMost = room()
    // The formula is about the window after the full one; a slow machine may be past it.
    const sliding = windowNow() === full + 1
    return { sliding, passed: 1 + countOf(200, more), atLeast: Math.max(1 + told, atLeast), atMost }
  }

  let seen = await count()
  for (let attempt = 1; !seen.sliding && attempt < 5; attempt++) seen = await count()
  expect(seen.sliding).toBe(true)
  expect(seen.passed).toBeGreaterThanOrEqual(seen.atLeast)
  expect(seen.passed).toBeLessThanOrEqual(seen.atMost)
})
