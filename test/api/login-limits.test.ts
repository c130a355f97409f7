/** How often a password may be wrong. Every test counts in a window of its own users and addresses. */
import { describe, expect, inject, test } from 'vitest'
import {
  atOnce,
  type Client,
  createClient,
  inOneWindow,
  inTurn,
  newName,
  statuses,
  type User,
} from '../support/client.ts'

const target = inject('small')
const { anonymous, user, login, username: name } = target.limits
const windowSeconds = Math.max(login.windowSeconds, name.windowSeconds, anonymous.windowSeconds)

const newClient = (address?: string) => createClient(target, address)
const newUser = () => newClient().register()
const logIn = (client: Client, username: string, password: string) =>
  client.request('POST', '/api/token/', { json: { username, password } })
const remaining = async (client: Client, token?: string): Promise<number> =>
  (await client.request('GET', '/api/rate-limit/', token === undefined ? {} : { token })).body.remaining

/** Failed logins whose name differs in case only, or in the space around it. */
const variants = (username: string) => [
  username,
  username.toUpperCase(),
  ` ${username}`,
  username.toLowerCase(),
]

/** A name somebody has, with the right password; and one nobody has. */
const names: [string, () => Promise<Pick<User, 'username' | 'password'>>, number][] = [
  ['a user', newUser, 200],
  ['nobody', async () => ({ username: newName(), password: 'correct horse' }), 401],
]

describe.each(names)('failed logins with the name of %s', (_, make, right) => {
  test('are limited by name and address: then even the right password is refused there, but not elsewhere', async () => {
    const seen = await inOneWindow(windowSeconds, async () => {
      const [client, { username, password }, other] = [newClient(), await make(), await newUser()]
      const names = variants(username)
      const failed = await inTurn(login.limit, (i) =>
        logIn(client, names[i % names.length] ?? '', 'wrong horse'),
      )
      return {
        failed: statuses(failed),
        here: statuses(await inTurn(names.length, (i) => logIn(client, names[i] ?? '', password))),
        elsewhere: (await logIn(newClient(), username, password)).status,
        another: (await logIn(client, other.username, other.password)).status,
      }
    })
    expect(seen).toEqual({
      failed: Array(login.limit).fill(401),
      here: [429, 429, 429, 429],
      elsewhere: right,
      another: 200,
    })
  })

  test('are limited by name over all addresses', async () => {
    const { failed, refused, another } = await inOneWindow(windowSeconds, async () => {
      const [{ username, password }, other] = [await make(), await newUser()]
      const failed = await inTurn(name.limit, () => logIn(newClient(), username, 'wrong horse'))
      const clients = [newClient(), newClient()]
      const refused = []
      for (const client of clients) {
        const answer = await logIn(client, username.toUpperCase(), password)
        refused.push({ answer, left: await remaining(client) })
      }
      return { failed, refused, another: await logIn(newClient(), other.username, other.password) }
    })
    expect(statuses(failed)).toEqual(Array(name.limit).fill(401))
    expect(another.status).toBe(200)
    for (const { answer, left } of refused) {
      expect(answer.status).toBe(429)
      expect(answer.headers.get('X-RateLimit-Limit')).toBe(String(name.limit))
      // A request that is refused is counted nowhere.
      expect(left).toBe(anonymous.limit)
    }
  })

  test('that come at once are counted before a password is looked at', async () => {
    const answers = await inOneWindow(windowSeconds, async () => {
      const [client, { username }] = [newClient(), await make()]
      return atOnce(anonymous.limit, () => logIn(client, username, 'wrong horse'))
    })
    expect(statuses(answers).sort()).toEqual([
      ...Array(login.limit).fill(401),
      ...Array(anonymous.limit - login.limit).fill(429),
    ])
  })

  test('tell what is left of the limit that is nearest', async () => {
    const answers = await inOneWindow(windowSeconds, async () => {
      const [client, { username }] = [newClient(), await make()]
      return inTurn(login.limit, () => logIn(client, username, 'wrong horse'))
    })
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

  test("tell of the address's limit where that is nearer", async () => {
    const answer = await inOneWindow(windowSeconds, async () => {
      const [client, { username }] = [newClient(), await make()]
      await inTurn(anonymous.limit - 1, () => client.request('GET', '/api/nothing/'))
      return logIn(client, username, 'wrong horse')
    })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('X-RateLimit-Limit')).toBe(String(anonymous.limit))
    expect(answer.headers.get('X-RateLimit-Remaining')).toBe('0')
  })

  test('that are refused count neither for the address nor for the name', async () => {
    const seen = await inOneWindow(windowSeconds, async () => {
      const [client, { username, password }] = [newClient(), await make()]
      await inTurn(login.limit, () => logIn(client, username, 'wrong horse'))
      const refused = await inTurn(name.limit, () => logIn(client, username, 'wrong horse'))
      const left = await remaining(client)
      return {
        refused: statuses(refused),
        left,
        elsewhere: (await logIn(newClient(), username, password)).status,
      }
    })
    expect(seen).toEqual({
      refused: Array(name.limit).fill(429),
      left: anonymous.limit - login.limit,
      elsewhere: right,
    })
  })
})

describe('a successful login', () => {
  test('gives back what it took of the limits of failed ones, and counts for the address', async () => {
    const logins = Math.min(anonymous.limit, Math.max(login.limit, name.limit) + 2)
    const { answers, left } = await inOneWindow(windowSeconds, async () => {
      const [client, { username, password }] = [newClient(), await newUser()]
      const answers = await inTurn(logins, () => logIn(client, username, password))
      return { answers, left: await remaining(client) }
    })
    expect(statuses(answers)).toEqual(Array(logins).fill(200))
    expect(left).toBe(anonymous.limit - logins)
    expect(answers.map(({ headers }) => headers.get('X-RateLimit-Remaining'))).toEqual(
      answers.map((_, i) => String(anonymous.limit - 1 - i)),
    )
  })

  test('gives back nothing of what failed before', async () => {
    const seen = await inOneWindow(windowSeconds, async () => {
      const [client, { username, password }] = [newClient(), await newUser()]
      const before = await inTurn(login.limit - 1, () => logIn(client, username, 'wrong horse'))
      const between = [await logIn(client, username, password), await logIn(client, username, password)]
      const after = [await logIn(client, username, 'wrong horse'), await logIn(client, username, password)]
      return [before, between, after].map(statuses)
    })
    expect(seen).toEqual([Array(login.limit - 1).fill(401), [200, 200], [401, 429]])
  })
})

describe('wrong passwords of somebody logged in', () => {
  const wrong = 'wrong horse'
  const change = (client: Client, token: string, from: string, to = 'a new password') =>
    client.request('PATCH', '/api/users/me/', { token, json: { password: to, current_password: from } })
  const remove = (client: Client, token: string, password: string) =>
    client.request('DELETE', '/api/users/me/', { token, json: { password } })
  const guess = (i: number, client: Client, token: string) =>
    i % 2 ? remove(client, token, wrong) : change(client, token, wrong)

  test('are limited by user, in all sessions and at all addresses', async () => {
    const seen = await inOneWindow(windowSeconds, async () => {
      const [ann, bob, client] = [await newUser(), await newUser(), newClient()]
      const again = await newClient().logIn(ann.username, ann.password)
      const failed = await inTurn(login.limit, (i) => guess(i, client, ann.token))
      const refused = [
        await change(client, ann.token, ann.password),
        await remove(newClient(), again.token, ann.password),
      ]
      return {
        failed: statuses(failed),
        refused: statuses(refused),
        left: await remaining(client, ann.token),
        // Nothing but that is refused, and nobody else.
        ann: (await client.request('GET', '/api/users/me/', { token: ann.token })).status,
        login: (await logIn(newClient(), ann.username, ann.password)).status,
        bob: (await change(client, bob.token, bob.password)).status,
      }
    })
    expect(seen).toEqual({
      failed: Array(login.limit).fill(400),
      refused: [429, 429],
      left: user.limit - login.limit,
      ann: 200,
      login: 200,
      bob: 200,
    })
  })

  test('that come at once are counted before a password is looked at', async () => {
    const answers = await inOneWindow(windowSeconds, async () => {
      const { token } = await newUser()
      return atOnce(user.limit, (i) => guess(i, newClient(), token))
    })
    expect(statuses(answers).sort()).toEqual([
      ...Array(login.limit).fill(400),
      ...Array(user.limit - login.limit).fill(429),
    ])
  })

  test('are told right ones from, which are given back', async () => {
    const seen = await inOneWindow(windowSeconds, async () => {
      const [client, { token, password }] = [newClient(), await newUser()]
      const passwords = Array.from({ length: login.limit + 2 }, (_, i) => `${password} ${i}`)
      const changes = []
      for (const [i, next] of passwords.entries()) {
        changes.push(await change(client, token, passwords[i - 1] ?? password, next))
      }
      const failed = await change(client, token, wrong)
      const { headers } = failed
      const left = headers.get('X-RateLimit-Remaining')
      return { changes: statuses(changes), failed: failed.status, left }
    })
    expect(seen).toEqual({
      changes: Array(login.limit + 2).fill(200),
      failed: 400,
      left: String(Math.min(login.limit - 1, user.limit - login.limit - 3)),
    })
  })
})
