/** Passwords that are accepted, and the effect of a new one on sessions. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, newName } from '../support/client.ts'
import { numRuns } from '../support/property-runs.ts'

const client = createClient(inject('wide'))
const { request, register, logIn, tryRegister, tryLogIn, changePassword, refresh, statusOfMe } = client

describe('a password', () => {
  test.each([
    ['of 8 characters', '7 horses'],
    ['of 8 characters outside the basic plane', '🐎'.repeat(8)],
    ['of 72 bytes', 'x'.repeat(72)],
    ['of 72 bytes in 24 characters', '€'.repeat(24)],
    ['with spaces around it', ' correct horse '],
    ['with quotes, backslashes and percent signs', `'"\\%_$1{}`],
  ])('%s is accepted at registration, at login and as new password', async (_, password) => {
    const byRegistration = await register(newName(), password)
    expect(byRegistration.token).toEqual(expect.any(String))
    const byChange = await register()
    expect((await changePassword(byChange.token, byChange.password, password)).status).toBe(200)
    expect((await tryLogIn(byChange.username, password)).status).toBe(200)
    expect((await tryLogIn(byChange.username, byChange.password)).status).toBe(401)
    expect((await changePassword(byChange.token, password, 'back to a horse')).status).toBe(200)
  })

  test.each([
    ['of 7 characters', '1234567'],
    ['of 7 characters in 14 UTF-16 units', '🐎'.repeat(7)],
    ['of 73 bytes', 'x'.repeat(73)],
    ['of 73 bytes in 25 characters', `${'€'.repeat(24)}x`],
    ['of 72 characters in 73 bytes', `${'x'.repeat(71)}é`],
    ['with U+0000', 'correct\0horse'],
    ['with a lone surrogate', 'correct \udc0e'],
    ['that is a number', 12345678],
    ['that is null', null],
  ])('%s is refused', async (_, password) => {
    const username = newName()
    const registered = await tryRegister(password, username)
    expect(registered.status).toBe(400)
    expect(registered.body.errors).toContainEqual({ pointer: '/password', detail: expect.any(String) })
    const user = await register(username)
    const json = { password, current_password: user.password }
    const changed = await request('PATCH', '/api/users/me/', { token: user.token, json })
    expect(changed.status).toBe(400)
    expect(changed.body.errors).toContainEqual({ pointer: '/password', detail: expect.any(String) })
    expect((await tryLogIn(username, user.password)).status).toBe(200)
  })

  test.each([
    ['bytes', 'x'.repeat(72)],
    ['characters of several bytes', '€'.repeat(24)],
  ])('that is too long is never cut to 72 %s', async (_, password) => {
    const user = await register(newName(), password)
    const longer = `${password}x`
    expect((await tryLogIn(user.username, longer)).status).toBe(400)
    const changed = await changePassword(user.token, longer, 'a new password')
    expect(changed.status).toBe(400)
    const deleted = await request('DELETE', '/api/users/me/', {
      token: user.token,
      json: { password: longer },
    })
    expect(deleted.status).toBe(400)
    expect(await statusOfMe(user.token)).toBe(200)
    // The last byte counts.
    expect((await tryLogIn(user.username, `${password.slice(0, -1)}y`)).status).toBe(401)
  })

  test('is neither trimmed nor folded', async () => {
    const { username } = await register(newName(), ' Correct Horse ')
    for (const password of ['Correct Horse', ' Correct Horse', ' correct horse ', ' Correct Horse  ']) {
      expect((await tryLogIn(username, password)).status).toBe(401)
    }
  })
})

describe('a new password', () => {
  test("ends every session but the caller's", async () => {
    const user = await register()
    const others = [await logIn(user.username, user.password), await logIn(user.username, user.password)]
    const stranger = await register()
    // What is in a cache must not outlive the session.
    for (const { token } of others) await request('GET', '/api/tasks/', { token })

    const json = {
      password: 'a new password',
      current_password: user.password,
      email: 'ann@example.com',
    }
    const changed = await request('PATCH', '/api/users/me/', { token: user.token, json })
    expect(changed).toMatchObject({ status: 200, body: { id: user.id, email: 'ann@example.com' } })
    expect(JSON.stringify(changed.body)).not.toContain('password')

    for (const { token, refreshToken } of others) {
      expect(await statusOfMe(token)).toBe(401)
      expect((await request('GET', '/api/tasks/', { token })).status).toBe(401)
      expect((await refresh(refreshToken)).status).toBe(401)
    }
    expect(await statusOfMe(user.token)).toBe(200)
    const { body: sessions } = await request('GET', '/api/sessions/', { token: user.token })
    expect(sessions.results).toMatchObject([{ current: true }])
    expect((await refresh(user.refreshToken)).status).toBe(200)
    expect(await statusOfMe(stranger.token)).toBe(200)
    expect((await tryLogIn(user.username, user.password)).status).toBe(401)
    expect((await tryLogIn(user.username, 'a new password')).status).toBe(200)
  })

  test('ends no session when it is refused', async () => {
    const user = await register()
    const other = await logIn(user.username, user.password)
    expect((await changePassword(user.token, 'wrong horse', 'a new password')).status).toBe(400)
    expect(await statusOfMe(other.token)).toBe(200)
    expect((await refresh(other.refreshToken)).status).toBe(200)
  })

  test('leaves no session of concurrent logins with the old one', async () => {
    for (let round = 0; round < numRuns / 10; round++) {
      const user = await register()
      const logins = []
      // The change starts before, between or after the logins.
      let change: ReturnType<typeof request> | undefined
      for (let i = 0; i < 6; i++) {
        if (i === round % 6) change = changePassword(user.token, user.password, 'a new password')
        logins.push(tryLogIn(user.username, user.password))
        if (round % 3 > 0) await new Promise((resolve) => setTimeout(resolve, round % 3))
      }
      expect((await change)?.status).toBe(200)
      for (const { status, body } of await Promise.all(logins)) {
        expect([200, 401]).toContain(status)
        if (status === 401) continue
        expect(await statusOfMe(body.access_token)).toBe(401)
        expect((await refresh(body.refresh_token)).status).toBe(401)
      }
      const { body } = await request('GET', '/api/sessions/', { token: user.token })
      expect(body.results).toMatchObject([{ current: true }])
    }
  })

  test('is set by exactly one of two concurrent changes', async () => {
    for (let round = 0; round < 10; round++) {
      const user = await register()
      const sessions = [user, await logIn(user.username, user.password)]
      const answers = await Promise.all(
        sessions.map(({ token }, i) => changePassword(token, user.password, `new password ${i}`)),
      )
      // The other has an ended session or a wrong current password.
      const [winner, ...more] = answers.flatMap(({ status }, i) => (status === 200 ? [i] : []))
      expect(more).toEqual([])
      expect([400, 401]).toContain(answers.find((_, i) => i !== winner)?.status)
      const statuses = await Promise.all(
        sessions.map(async ({ token }, i) => [
          await statusOfMe(token),
          (await tryLogIn(user.username, `new password ${i}`)).status,
        ]),
      )
      expect(statuses).toEqual(sessions.map((_, i) => (i === winner ? [200, 200] : [401, 401])))
    }
  })
})
