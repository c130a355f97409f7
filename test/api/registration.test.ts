import { expect, inject, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'

const client = createClient(inject('wide'))
const { request, register, tryLogIn, getMe } = client

const password = 'correct horse'
const send = (json: unknown, path = '/api/register/') => request('POST', path, { json })

const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)

test('answers the account without the password', async () => {
  const username = newName()
  const { status, body } = await send({ username, password, email: 'ann@example.com' })
  expect(status).toBe(201)
  expect(body).toEqual({
    id: expect.any(Number),
    username,
    email: 'ann@example.com',
    created_at: timestamp,
  })
  expect(Number.isInteger(body.id)).toBe(true)
  expect(Math.abs(Date.parse(body.created_at) - Date.now())).toBeLessThan(60_000)
})

test('needs neither an e-mail address nor the slash of the path', async () => {
  const { status, body } = await send({ username: newName(), password }, '/api/register')
  expect(status).toBe(201)
  expect(body.email).toBeNull()
})

test('takes a form', async () => {
  const form = { username: newName('a+b'), password: 'pläin & simple+%20', email: 'ann@example.com' }
  const { status, body } = await request('POST', '/api/register/', { form })
  expect(status).toBe(201)
  expect(body).toMatchObject({ username: form.username, email: form.email })
  expect((await tryLogIn(form.username, form.password)).status).toBe(200)
})

test('refuses a repeated member of a form', async () => {
  const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
  const body = `username=${newName()}&username=${newName()}&password=correct+horse`
  const answer = await request('POST', '/api/register/', { body, headers })
  expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: '/username' }] } })
})

test('answers 409 for a taken name in any case, and does not change its account', async () => {
  const user = await register(newName('Taken'))
  for (const username of [
    user.username,
    user.username.toUpperCase(),
    user.username.toLowerCase(),
    ` ${user.username}`,
  ]) {
    const answer = await send({ username, password: 'another password' })
    expect(answer.status).toBe(409)
    expect(answer.headers.get('Content-Type')).toMatch(/^application\/problem\+json/)
    expect(answer.body).toMatchObject({ type: expect.any(String), title: 'Conflict', status: 409 })
  }
  expect((await getMe(user.token)).body).toMatchObject({ id: user.id, username: user.username })
  expect((await tryLogIn(user.username, user.password)).status).toBe(200)
  expect((await tryLogIn(user.username, 'another password')).status).toBe(401)
})

test('makes one account for ten concurrent registrations of a name', async () => {
  const name = newName('race')
  const answers = await Promise.all(
    Array.from({ length: 10 }, (_, i) =>
      send({ username: i % 2 ? name : name.toUpperCase(), password: `${password} ${i}` }),
    ),
  )
  expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(409)])
  const winner = answers.findIndex(({ status }) => status === 201)
  const logins = await Promise.all(answers.map((_, i) => tryLogIn(name, `${password} ${i}`)))
  expect(logins.map(({ status }) => status)).toEqual(answers.map((_, i) => (i === winner ? 200 : 401)))
})

test('trims a username and keeps its case, which login ignores', async () => {
  const username = newName('CamelCase')
  const registered = await send({ username: ` \t${username} \n`, password })
  expect(registered).toMatchObject({ status: 201, body: { username } })
  for (const name of [
    username,
    username.toLowerCase(),
    username.toUpperCase(),
    ` ${username.toLowerCase()} `,
  ]) {
    const { status, body } = await tryLogIn(name, password)
    expect(status).toBe(200)
    expect((await getMe(body.access_token)).body.username).toBe(username)
  }
})

test('takes names of 150 characters and of every allowed character', async () => {
  for (const username of [newName('x').padEnd(150, 'x'), `${newName('Aa0')}@.+-_`, `-${newName()}`]) {
    expect(await send({ username, password })).toMatchObject({ status: 201, body: { username } })
  }
  // Another user may have the name.
  expect([201, 409]).toContain((await send({ username: 'a', password })).status)
})

test.each([
  ['empty', ''],
  ['blank', ' \t '],
  ['of 151 characters', newName('x').padEnd(151, 'x')],
  ['with a space inside', `${newName()} x`],
  ['with a letter that is not ASCII', `${newName()}é`],
  ['with a letter that only looks ASCII', `${newName()}\u212A`],
  ['with a slash', `${newName()}/`],
  ['with a percent sign', `${newName()}%`],
  ['with a line feed inside', `${newName()}\nx`],
  ['with U+0000', `${newName()}\0`],
  ['with a lone surrogate', `${newName()}\ud800`],
  ['that is a number', 7],
  ['that is null', null],
  ['that is absent', undefined],
])('refuses a username %s', async (_, username) => {
  const { status, body } = await send({ username, password })
  expect(status).toBe(400)
  expect(body.errors).toContainEqual({ pointer: '/username', detail: expect.any(String) })
})

test('reports all errors at once, and makes no account', async () => {
  const username = newName()
  const wrong = { username: '', password: 'short', email: 'none', admin: true }
  const { status, headers, body } = await send(wrong, '/api/register/?next=%2F')
  expect(status).toBe(400)
  expect(headers.get('Content-Type')).toMatch(/^application\/problem\+json/)
  const places = body.errors.map((error: { pointer?: string; parameter?: string }) => error.pointer ?? error)
  expect(new Set(places)).toEqual(
    new Set([
      '/username',
      '/password',
      '/email',
      '/admin',
      { parameter: 'next', detail: expect.any(String) },
    ]),
  )
  expect((await send({ username, password, is_admin: true })).status).toBe(400)
  expect((await tryLogIn(username, password)).status).toBe(401)
})
