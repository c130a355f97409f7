import { beforeAll, expect, inject, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'

const { request, register } = createClient(inject('wide'))
let token: string
beforeAll(async () => {
  token = (await register()).token
})

const find = (query: Record<string, string> = {}) =>
  request('GET', `/api/users/?${new URLSearchParams(query)}`, { token })
const names = async (search: string) =>
  (await find({ search })).body.results.map(({ username }: { username: string }) => username)
const make = (username: string, email?: string) =>
  request('POST', '/api/register/', { json: { username, password: 'correct horse', email } })

test('finds users by the beginning of their name in any case, ordered by name', async () => {
  const prefix = newName('Find')
  const ids = []
  for (const name of [`${prefix}-c`, `${prefix}-B`, `${prefix}-a`, `other-${prefix}`]) {
    ids.push((await make(name)).body.id)
  }
  const [c, b, a] = ids
  const expected = [
    { id: a, username: `${prefix}-a` },
    { id: b, username: `${prefix}-B` },
    { id: c, username: `${prefix}-c` },
  ]
  for (const search of [prefix, prefix.toLowerCase(), prefix.toUpperCase()]) {
    const { status, body } = await find({ search })
    expect(status).toBe(200)
    expect(body).toEqual({ results: expected })
  }
  expect(await names(`${prefix}-b`)).toEqual([`${prefix}-B`])
  expect(await names(`${prefix}-d`)).toEqual([])
  expect((await request('GET', `/api/users?search=${prefix}-b`, { token })).body.results).toEqual([
    expected[1],
  ])
})

test('answers at most 20 users, the first by name', async () => {
  const prefix = newName('many')
  const expected = Array.from({ length: 22 }, (_, i) => `${prefix}-${String.fromCharCode(97 + i)}`)
  await Promise.all(expected.toReversed().map((name) => make(name)))
  expect(await names(prefix)).toEqual(expected.slice(0, 20))
})

test('answers at most 20 users without a search', async () => {
  await Promise.all(Array.from({ length: 20 }, () => make(newName('anybody'))))
  for (const query of [{}, { search: '' }]) {
    const { status, body } = await find(query)
    expect(status).toBe(200)
    expect(body.results).toHaveLength(20)
    const found: string[] = body.results.map(({ username }: { username: string }) => username.toLowerCase())
    expect(found).toEqual(found.toSorted())
  }
})

test('takes _, % and \\ literally', async () => {
  const prefix = newName('like')
  for (const name of [`${prefix}_a`, `${prefix}-a`, `${prefix}xa`]) await make(name)
  expect(await names(`${prefix}_`)).toEqual([`${prefix}_a`])
  for (const search of [
    '%',
    '\\',
    `${prefix}%`,
    `${prefix}\\`,
    `${prefix}\\_`,
    `${prefix}\\_a`,
    `%${prefix}`,
  ]) {
    expect(await names(search)).toEqual([])
  }
  // Names may begin with it.
  await make(`_${prefix}`)
  const begin: string[] = await names('_')
  expect(begin.length).toBeGreaterThan(0)
  expect(begin.filter((name) => !name.startsWith('_'))).toEqual([])
})

test('does not search or show e-mail addresses', async () => {
  const username = newName()
  const mailbox = newName('mailbox')
  expect((await make(username, `${mailbox}@example.com`)).status).toBe(201)
  expect(await names(mailbox)).toEqual([])
  expect(await names(`${mailbox}@example.com`)).toEqual([])
  const { body } = await find({ search: username })
  expect(body.results).toEqual([{ id: expect.any(Number), username }])
})

test('does not find a deleted account', async () => {
  const user = await register()
  expect(await names(user.username)).toEqual([user.username])
  const json = { password: user.password }
  expect((await request('DELETE', '/api/users/me/', { token: user.token, json })).status).toBe(204)
  expect(await names(user.username)).toEqual([])
})
