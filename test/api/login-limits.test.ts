/** The limits of passwords. Every test has users and addresses of its own. */
import { describe, expect, inject, test } from 'vitest'
import { atOnce, type Client, createClient, inTurn, newName, statuses, type User } from '../support/client.ts'

const target = inject('small')
const { user, anonymous, token: tokens, login, username: name } = target.limits

const newClient = (address?: string) => createClient(target, address)
const newUser = () => newClient().register()
const remaining = async (client: Client, token: string): Promise<number> =>
  (await client.request('GET', '/api/rate-limit/', { token })).body.remaining
/** Requests that the address has left at the token endpoints; asking counts as one. */
async function tokensLeft(client: Client): Promise<number> {
  const { headers } = await client.request('POST', '/api/token/revoke/', { json: { refresh_token: 'none' } })
  expect(headers.get('RateLimit')).toMatch(/^"token";/)
  return Number(headers.get('X-RateLimit-Remaining')) + 1
}

/** The same name for the service, which ignores case and surrounding space. */
const variants = (username: string) => [
  username,
  username.toUpperCase(),
  ` ${username}`,
  username.toLowerCase(),
]

const names: [string, () => Promise<Pick<User, 'username' | 'password'>>, number][] = [
  ['an existing user', newUser, 200],
  ['a user that does not exist', async () => ({ username: newName(), password: 'correct horse' }), 401],
]

describe.each(names)('failed logins with the name of %s', (_, make, right) => {
  test('are limited by name and address: the right password is then refused there, but not elsewhere', async () => {
    const [client, { username, password }, other] = [newClient(), await make(), await newUser()]
    const names = variants(username)
    const failed = await inTurn(login.limit, (i) =>
      client.tryLogIn(names[i % names.length] ?? '', 'wrong horse'),
    )
    const seen = {
      failed: statuses(failed),
      here: statuses(await inTurn(names.length, (i) => client.tryLogIn(names[i] ?? '', password))),
      elsewhere: (await newClient().tryLogIn(username, password)).status,
      another: (await client.tryLogIn(other.username, other.password)).status,
    }
    expect(seen).toEqual({
      failed: Array(login.limit).fill(401),
      here: [429, 429, 429, 429],
      elsewhere: right,
      another: 200,
    })
  })

  test('are limited by name over all addresses', async () => {
    const [{ username, password }, other] = [await make(), await newUser()]
    const failed = await inTurn(name.limit, () => newClient().tryLogIn(username, 'wrong horse'))
    const clients = [newClient(), newClient()]
    const refused = []
    for (const client of clients) {
      const answer = await client.tryLogIn(username.toUpperCase(), password)
      refused.push({ answer, left: await tokensLeft(client) })
    }
    const another = await newClient().tryLogIn(other.username, other.password)
    expect(statuses(failed)).toEqual(Array(name.limit).fill(401))
    expect(another.status).toBe(200)
    for (const { answer, left } of refused) {
      expect(answer.status).toBe(429)
      expect(answer.headers.get('X-RateLimit-Limit')).toBe(String(name.limit))
      // A refused request is not counted by any limit.
      expect(left).toBe(tokens.limit)
    }
  })

  test('are counted before a password is checked', async () => {
    const [client, { username }] = [newClient(), await make()]
    const answers = await atOnce(tokens.limit, () => client.tryLogIn(username, 'wrong horse'))
    expect(statuses(answers).sort()).toEqual([
      ...Array(login.limit).fill(401),
      ...Array(tokens.limit - login.limit).fill(429),
    ])
  })

  test('tell what is left of the nearest limit', async () => {
    const [client, { username }] = [newClient(), await make()]
    const answers = await inTurn(login.limit, () => client.tryLogIn(username, 'wrong horse'))
    expect(answers.map(({ headers }) => headers.get('X-RateLimit-Remaining'))).toEqual(
      answers.map((_, i) => String(login.limit - 1 - i)),
    )
    for (const { headers } of answers) {
      expect(headers.get('X-RateLimit-Limit')).toBe(String(login.limit))
      expect(headers.get('RateLimit-Policy')).toMatch(
        new RegExp(`;q=${login.limit};w=${login.windowSeconds}$`),
      )
      expect(headers.get('Retry-After')).toBeNull()
    }
  })

  test("tell the address's limit if that is nearer", async () => {
    const [client, { username }] = [newClient(), await make()]
    await inTurn(tokens.limit - 1, () => client.request('GET', '/api/token/'))
    const answer = await client.tryLogIn(username, 'wrong horse')
    expect(answer.status).toBe(401)
    expect(answer.headers.get('X-RateLimit-Limit')).toBe(String(tokens.limit))
    expect(answer.headers.get('X-RateLimit-Remaining')).toBe('0')
  })

  test('are not counted by any limit when they are refused', async () => {
    const [client, { username, password }] = [newClient(), await make()]
    await inTurn(login.limit, () => client.tryLogIn(username, 'wrong horse'))
    const refused = await inTurn(name.limit, () => client.tryLogIn(username, 'wrong horse'))
    const left = await tokensLeft(client)
    const seen = {
      refused: statuses(refused),
      left,
      elsewhere: (await newClient().tryLogIn(username, password)).status,
    }
    expect(seen).toEqual({
      refused: Array(name.limit).fill(429),
      left: tokens.limit - login.limit,
      elsewhere: right,
    })
  })
})

describe('a successful login', () => {
  test('is refunded by the limits of failed logins, and counts for the address', async () => {
    const logins = Math.min(tokens.limit - 1, Math.max(login.limit, name.limit) + 2)
    const [client, { username, password }] = [newClient(), await newUser()]
    const answers = await inTurn(logins, () => client.tryLogIn(username, password))
    const left = await tokensLeft(client)
    expect(statuses(answers)).toEqual(Array(logins).fill(200))
    expect(left).toBe(tokens.limit - logins)
    expect(answers.map(({ headers }) => headers.get('RateLimit'))).toEqual(
      answers.map((_, i) => expect.stringMatching(`^"token";r=${tokens.limit - 1 - i};`)),
    )
  })

  test('does not refund earlier failures', async () => {
    const [client, { username, password }] = [newClient(), await newUser()]
    const before = await inTurn(login.limit - 1, () => client.tryLogIn(username, 'wrong horse'))
    const between = [await client.tryLogIn(username, password), await client.tryLogIn(username, password)]
    const after = [await client.tryLogIn(username, 'wrong horse'), await client.tryLogIn(username, password)]
    const seen = [before, between, after].map(statuses)
    expect(seen).toEqual([Array(login.limit - 1).fill(401), [200, 200], [401, 429]])
  })
})

describe('passwords of an authenticated user', () => {
  const wrong = 'wrong horse'
  const change = (client: Client, token: string, from: string, to = 'a new password') =>
    client.request('PATCH', '/api/users/me/', { token, json: { password: to, current_password: from } })
  const remove = (client: Client, token: string, password: string) =>
    client.request('DELETE', '/api/users/me/', { token, json: { password } })
  const guess = (i: number, client: Client, token: string) =>
    i % 2 ? remove(client, token, wrong) : change(client, token, wrong)

  test('are limited by user, across sessions and addresses', async () => {
    const [ann, bob, client] = [await newUser(), await newUser(), newClient()]
    const again = await newClient().logIn(ann.username, ann.password)
    const failed = await inTurn(login.limit, (i) => guess(i, client, ann.token))
    const refused = [
      await change(client, ann.token, ann.password),
      await remove(newClient(), again.token, ann.password),
    ]
    const seen = {
      failed: statuses(failed),
      refused: statuses(refused),
      left: await remaining(client, ann.token),
      // Other requests and other users are not refused.
      ann: (await client.request('GET', '/api/users/me/', { token: ann.token })).status,
      login: (await newClient().tryLogIn(ann.username, ann.password)).status,
      bob: (await change(client, bob.token, bob.password)).status,
    }
    expect(seen).toEqual({
      failed: Array(login.limit).fill(400),
      refused: [429, 429],
      left: user.limit - login.limit,
      ann: 200,
      login: 200,
      bob: 200,
    })
  })

  test('are counted before a password is checked', async () => {
    const { token } = await newUser()
    const answers = await atOnce(user.limit, (i) => guess(i, newClient(), token))
    expect(statuses(answers).sort()).toEqual([
      ...Array(login.limit).fill(400),
      ...Array(user.limit - login.limit).fill(429),
    ])
  })

  test('count whether right or wrong, and the answers tell what is left', async () => {
    const [client, { token, password }] = [newClient(), await newUser()]
    const again = () => change(client, token, password, password)
    const answers = [...(await inTurn(login.limit - 1, again)), await guess(1, client, token), await again()]
    expect(statuses(answers)).toEqual([...Array(login.limit - 1).fill(200), 400, 429])
    expect(answers.map(({ headers }) => headers.get('RateLimit'))).toEqual(
      [...Array(login.limit).keys(), login.limit].map((i) =>
        expect.stringMatching(`^"password";r=${Math.max(0, login.limit - 1 - i)};`),
      ),
    )
  })

  test('are not counted in requests without one', async () => {
    const [client, { token, password }] = [newClient(), await newUser()]
    const json = { email: 'ann@example.com' }
    const sent = await inTurn(login.limit + 1, () =>
      client.request('PATCH', '/api/users/me/', { token, json }),
    )
    const seen = [...statuses(sent), (await change(client, token, password)).status]
    expect(seen).toEqual(Array(login.limit + 2).fill(200))
  })
})

describe('the token endpoints', () => {
  const refresh = (client: Client) =>
    client.request('POST', '/api/token/refresh/', { json: { refresh_token: 'none' } })
  const revoke = (client: Client) =>
    client.request('POST', '/api/token/revoke/', { json: { refresh_token: 'none' } })

  test('share one limit by address, apart from other requests', async () => {
    const [client, { username, password, token }] = [newClient(), await newUser()]
    await inTurn(anonymous.limit, () => client.request('GET', '/api/tasks/'))
    const before = [await client.request('GET', '/api/tasks/'), await client.tryLogIn(username, password)]
    const spent = await inTurn(tokens.limit - 1, (i) => (i % 2 ? refresh(client) : revoke(client)))
    const after = [await client.tryLogIn(username, password), await refresh(client), await revoke(client)]
    const seen = {
      before: statuses(before),
      spent: statuses(spent),
      after: after.map(({ status, body }) => [status, body['violated-policies']]),
      with: (await client.request('GET', '/api/tasks/', { token })).status,
      elsewhere: (await newClient().tryLogIn(username, password)).status,
    }
    expect(seen).toEqual({
      before: [429, 200],
      spent: Array.from({ length: tokens.limit - 1 }, (_, i) => (i % 2 ? 401 : 200)),
      after: Array(3).fill([429, ['token']]),
      with: 200,
      elsewhere: 200,
    })
  })

  test('do not count as anonymous requests', async () => {
    const client = newClient()
    await inTurn(tokens.limit, () => refresh(client))
    const left = (await client.request('GET', '/api/rate-limit/')).body.remaining
    expect(left).toBe(anonymous.limit)
  })
})
