import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, type User } from '../support/client.ts'

const client = createClient(inject('wide'))
const { request, register, tryLogIn, getMe } = client

const changeMe = (token: string, json: unknown) => request('PATCH', '/api/users/me/', { token, json })
const deleteMe = (token: string, json: unknown) => request('DELETE', '/api/users/me/', { token, json })

describe('/api/users/me/', () => {
  test('answers the account of the caller', async () => {
    const username = newName()
    const registered = await request('POST', '/api/register/', {
      json: { username, password: 'correct horse', email: 'ann@example.com' },
    })
    const { token } = await client.logIn(username, 'correct horse')
    expect(await getMe(token)).toMatchObject({ status: 200, body: registered.body })
    expect((await request('GET', '/api/users/me', { token })).body).toEqual(registered.body)
  })

  test('sets the e-mail address, and removes it with null', async () => {
    const { token, refreshToken } = await register()
    const before = (await getMe(token)).body
    const changed = { ...before, email: 'new@example.com' }
    expect(await changeMe(token, { email: 'new@example.com' })).toMatchObject({ status: 200, body: changed })
    expect((await getMe(token)).body).toEqual(changed)
    const cleared = await request('PATCH', '/api/users/me/', {
      token,
      body: '{"email":null}',
      headers: { 'Content-Type': 'application/merge-patch+json' },
    })
    expect(cleared).toMatchObject({ status: 200, body: { ...before, email: null } })
    expect((await getMe(token)).body).toEqual({ ...before, email: null })
    // Only a password ends sessions.
    const refreshed = await request('POST', '/api/token/refresh/', { json: { refresh_token: refreshToken } })
    expect(refreshed.status).toBe(200)
  })

  test.each([
    ['nothing', {}],
    ['a current password alone', { current_password: 'correct horse' }],
  ])('refuses a change of %s', async (_, json) => {
    const { token } = await register()
    expect((await changeMe(token, json)).status).toBe(400)
  })

  test.each([
    ['an empty e-mail address', { email: '' }, '/email'],
    ['an e-mail address that is none', { email: 'ann@' }, '/email'],
    ['another username', { username: 'somebody', email: 'ann@example.com' }, '/username'],
    ['another id', { id: 1, email: 'ann@example.com' }, '/id'],
    ['a password without the current one', { password: 'a new password' }, '/current_password'],
    [
      'a password with a wrong current one',
      { password: 'a new password', current_password: 'wrong horse' },
      '/current_password',
    ],
    [
      'an e-mail address with a wrong current password',
      { email: 'ann@example.com', current_password: 'wrong horse' },
      '/current_password',
    ],
    [
      'a short password',
      { email: 'ann@example.com', password: '1234567', current_password: 'correct horse' },
      '/password',
    ],
  ])('refuses %s and changes nothing', async (_, json, pointer) => {
    const user = await register()
    const before = (await getMe(user.token)).body
    const { status, body } = await changeMe(user.token, json)
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ pointer, detail: expect.any(String) }])
    expect((await getMe(user.token)).body).toEqual(before)
    expect((await tryLogIn(user.username, user.password)).status).toBe(200)
  })
})

describe('DELETE /api/users/me/', () => {
  const taskPath = (task: { id: number }) => `/api/tasks/${task.id}/`
  const createTask = async (token: string, assignedTo: User) =>
    (await request('POST', '/api/tasks/', { token, json: { title: 'A task', assigned_to: assignedTo.id } }))
      .body

  test.each([
    ['a wrong password', { password: 'wrong horse' }],
    ['no password', {}],
    ['a number as password', { password: 12345678 }],
  ])('refuses %s and keeps the account', async (_, json) => {
    const { token } = await register()
    const { status, body } = await deleteMe(token, json)
    expect(status).toBe(400)
    expect(body.errors).toEqual([{ pointer: '/password', detail: expect.any(String) }])
    expect((await getMe(token)).status).toBe(200)
  })

  test('invalidates every token at once and frees the name', async () => {
    const user = await register()
    const elsewhere = await client.logIn(user.username, user.password)
    await request('GET', '/api/tasks/', { token: elsewhere.token })
    expect(await deleteMe(user.token, { password: user.password })).toMatchObject({ status: 204, body: '' })
    for (const { token, refreshToken } of [user, elsewhere]) {
      for (const path of ['/api/users/me/', '/api/tasks/', '/api/sessions/', '/api/users/']) {
        const { status, headers } = await request('GET', path, { token })
        expect(status).toBe(401)
        expect(headers.get('WWW-Authenticate')).toContain('error="invalid_token"')
      }
      const refreshed = await request('POST', '/api/token/refresh/', {
        json: { refresh_token: refreshToken },
      })
      expect(refreshed.status).toBe(401)
    }
    expect((await tryLogIn(user.username, user.password)).status).toBe(401)

    const successor = await register(user.username, 'another password')
    expect(successor.id).not.toBe(user.id)
    expect((await getMe(user.token)).status).toBe(401)
    expect((await getMe(elsewhere.token)).status).toBe(401)
  })

  test("deletes the user's own tasks and unassigns those of others", async () => {
    const [ann, bob] = [await register(), await register()]
    const [hers, his] = [await createTask(ann.token, bob), await createTask(bob.token, ann)]
    // Cached answers must not outlive the account.
    await request('GET', taskPath(hers), { token: bob.token })
    const before = await request('GET', taskPath(his), { token: bob.token })
    await request('GET', '/api/tasks/', { token: bob.token })
    expect((await deleteMe(ann.token, { password: ann.password })).status).toBe(204)
    expect((await request('GET', taskPath(hers), { token: bob.token })).status).toBe(404)
    const { body, headers } = await request('GET', taskPath(his), { token: bob.token })
    expect(body).toEqual({ ...his, assigned_to: null, updated_at: expect.any(String) })
    expect(Date.parse(body.updated_at)).toBeGreaterThan(Date.parse(his.updated_at))
    expect(headers.get('ETag')).not.toBe(before.headers.get('ETag'))
    expect((await request('GET', '/api/tasks/', { token: bob.token })).body.results).toEqual([body])
  })

  test('leaves no session of a concurrent login', async () => {
    for (let round = 0; round < 10; round++) {
      const { username, password, token } = await register()
      const logins = Array.from({ length: 4 }, () => tryLogIn(username, password))
      expect((await deleteMe(token, { password })).status).toBe(204)
      for (const { status, body } of await Promise.all(logins)) {
        expect([200, 401]).toContain(status)
        if (status === 200) expect((await getMe(body.access_token)).status).toBe(401)
      }
    }
  })
})
