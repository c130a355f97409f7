import { describe, expect, inject, test } from 'vitest'
import { createClient, newName, reaches } from '../support/client.ts'

const client = createClient(inject('wide'))
const { request, register, refresh, statusOfMe } = client

const logIn = (json: unknown, headers?: Record<string, string>) =>
  request('POST', '/api/token/', { json, ...(headers && { headers }) })
const revoke = (refreshToken: unknown) =>
  request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
const statusOfRefresh = async (refreshToken: string) => (await refresh(refreshToken)).status
const listSessions = async (token: string) => (await request('GET', '/api/sessions/', { token })).body.results

const tokens = {
  access_token: expect.any(String),
  token_type: 'Bearer',
  expires_in: expect.any(Number),
  refresh_token: expect.any(String),
}
const timestamp = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
const day = 24 * 3_600_000

describe('POST /api/token/', () => {
  test('opens a session', async () => {
    const { username, password, id } = await register()
    const { status, headers, body } = await logIn({ username, password })
    expect(status).toBe(200)
    expect(body).toEqual(tokens)
    expect(body.expires_in).toBeGreaterThan(0)
    expect(headers.get('Cache-Control')).toBe('no-store')
    expect((await request('GET', '/api/users/me/', { token: body.access_token })).body.id).toBe(id)
  })

  test('takes a form and a path without the slash', async () => {
    const { username, password } = await register(newName(), 'a+b & c=d')
    expect(await request('POST', '/api/token', { form: { username, password } })).toMatchObject({
      status: 200,
      body: tokens,
    })
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded; charset=UTF-8' }
    const body = `username=${username}&password=a%2Bb+%26+c%3Dd`
    expect((await request('POST', '/api/token/', { body, headers })).status).toBe(200)
  })

  test('answers an unknown name and a wrong password alike', async () => {
    const { username } = await register()
    const [wrong, unknown] = [
      await logIn({ username, password: 'wrong horse' }),
      await logIn({ username: newName(), password: 'wrong horse' }),
    ]
    const comparable = ({ headers, status, body: { request_id, ...body } }: typeof wrong) => ({
      status,
      body,
      type: headers.get('Content-Type'),
      challenge: headers.get('WWW-Authenticate'),
      names: [...headers.keys()],
    })
    expect(comparable(unknown)).toEqual(comparable(wrong))
    expect(wrong).toMatchObject({ status: 401, body: { title: 'Unauthorized', status: 401 } })
    expect(wrong.headers.get('Content-Type')).toMatch(/^application\/problem\+json/)
    expect(wrong.headers.get('WWW-Authenticate')).toMatch(/^Bearer\b/)
  })

  test.each([
    ['a member that is missing', { username: 'ann' }, ['/password']],
    ['members of another type', { username: 1, password: null }, ['/username', '/password']],
    ['an unknown member', { username: 'ann', password: 'correct horse', otp: '1' }, ['/otp']],
    ['a list', [], ['']],
  ])('refuses %s', async (_, json, pointers) => {
    const { status, body } = await logIn(json)
    expect(status).toBe(400)
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(pointers.sort())
  })
})

describe('POST /api/token/revoke/', () => {
  test('ends the session and invalidates its tokens at once', async () => {
    const { token, refreshToken, username, password } = await register()
    const other = await client.logIn(username, password)
    const task = await request('POST', '/api/tasks/', { token, json: { title: 'A task' } })
    const paths = [
      '/api/tasks/',
      `/api/tasks/${task.body.id}/`,
      '/api/users/me/',
      '/api/sessions/',
      '/api/users/',
      '/api/rate-limit/',
    ]
    // Twice, so that the second answer may come from the cache.
    for (const path of [...paths, ...paths]) {
      expect((await request('GET', path, { token })).status).toBe(200)
    }
    expect((await revoke(refreshToken)).status).toBe(200)
    for (const path of paths) {
      const { status, headers } = await request('GET', path, { token })
      expect([path, status]).toEqual([path, 401])
      expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer .*error="invalid_token"/)
    }
    const written = await request('POST', '/api/tasks/', { token, json: { title: 'Another' } })
    expect(written.status).toBe(401)
    expect(await statusOfRefresh(refreshToken)).toBe(401)
    const left = await request('GET', '/api/tasks/', { token: other.token })
    expect(left.body.results).toEqual([task.body])
  })

  test('answers 200 for invalid tokens and a revoked one', async () => {
    const { token, refreshToken } = await register()
    const changed = refreshToken.replace(
      /.(.{9})$/,
      (end) => (end.startsWith('A') ? 'B' : 'A') + end.slice(1),
    )
    expect(changed).not.toBe(refreshToken)
    for (const invalid of ['', 'nonsense', changed, 'ü'.repeat(50)]) {
      expect((await revoke(invalid)).status).toBe(200)
    }
    expect(await statusOfMe(token)).toBe(200)
    expect((await revoke(refreshToken)).status).toBe(200)
    expect((await revoke(refreshToken)).status).toBe(200)
    expect(await statusOfMe(token)).toBe(401)
  })

  test.each([
    ['an access token', async () => (await register()).token],
    ['a long one', async () => 'x'.repeat(5000)],
  ])('answers 200 for %s', async (_, make) => {
    expect((await revoke(await make())).status).toBe(200)
  })

  test('takes a form, a path without the slash, and a spent token', async () => {
    const { token, refreshToken } = await register()
    expect(await statusOfRefresh(refreshToken)).toBe(200)
    const form = { refresh_token: refreshToken }
    expect((await request('POST', '/api/token/revoke', { form })).status).toBe(200)
    expect(await statusOfMe(token)).toBe(401)
  })
})

describe('GET /api/sessions/', () => {
  test("lists the caller's live sessions", async () => {
    const begun = Date.now()
    const { username, password, token, refreshToken } = await register()
    const phone = await logIn({ username, password }, { 'User-Agent': 'phone/1.0 (test)' })
    const gone = await client.logIn(username, password)
    expect((await revoke(gone.refreshToken)).status).toBe(200)
    await register()

    const sessions = await listSessions(token)
    const session = {
      id: expect.any(Number),
      created_at: timestamp,
      last_used_at: timestamp,
      expires_at: timestamp,
      user_agent: expect.any(String),
      current: false,
    }
    expect(sessions).toHaveLength(2)
    expect(sessions).toContainEqual({ ...session, user_agent: 'phone/1.0 (test)' })
    expect(sessions).toContainEqual({ ...session, current: true })
    for (const { created_at, last_used_at, expires_at } of sessions) {
      for (const time of [created_at, last_used_at]) {
        // The clocks may differ a little.
        expect(Date.parse(time)).toBeGreaterThan(begun - 2000)
        expect(Date.parse(time)).toBeLessThan(Date.now() + 2000)
      }
      expect(Math.abs(Date.parse(expires_at) - Date.parse(last_used_at) - 30 * day)).toBeLessThan(2000)
    }
    // The same sessions, seen from the other.
    expect(await listSessions(phone.body.access_token)).toEqual(
      expect.arrayContaining(
        sessions.map((seen: { current: boolean }) => ({ ...seen, current: !seen.current })),
      ),
    )
    expect(JSON.stringify(sessions)).not.toContain(refreshToken)
    expect((await request('GET', '/api/sessions', { token })).body.results).toEqual(sessions)
  })

  test('shows at most 200 characters of a User-Agent of any bytes', async () => {
    const { username, password, token } = await register()
    const bytesOf = (text: string) => Buffer.from(text).toString('latin1')
    for (const end of ['', '😀', 'é', '\u{10ffff}', '日本', '\ufeff'])
      for (const length of [198, 199, 200]) {
        const agent = `${'x'.repeat(length)}${bytesOf(end)}`
        const { status } = await logIn({ username, password }, { 'User-Agent': agent })
        expect([end, length, status]).toEqual([end, length, 200])
      }
    const { body } = await request('GET', '/api/sessions/?limit=100', { token })
    const agents: string[] = body.results
      .slice(0, -1)
      .map((session: { user_agent: string }) => session.user_agent)
    expect(agents).toHaveLength(18)
    for (const agent of agents) {
      expect(agent).toMatch(/^x{198}/)
      expect(agent.length).toBeLessThanOrEqual(200)
      expect(agent.isWellFormed()).toBe(true)
    }
  })

  test('shows when a session was refreshed and its later expiry', async () => {
    const { token, refreshToken } = await register()
    const [before] = await listSessions(token)
    await expect.poll(() => Date.now()).toBeGreaterThan(Date.parse(before.last_used_at) + 10)
    expect(await statusOfRefresh(refreshToken)).toBe(200)
    const [after, ...more] = await listSessions(token)
    expect(more).toEqual([])
    expect(after).toMatchObject({ id: before.id, created_at: before.created_at, current: true })
    expect(Date.parse(after.last_used_at)).toBeGreaterThan(Date.parse(before.last_used_at))
    expect(Date.parse(after.expires_at)).toBeGreaterThan(Date.parse(before.expires_at))
  })
})

describe('DELETE /api/sessions/{id}/', () => {
  const end = (token: string, id: unknown) => request('DELETE', `/api/sessions/${id}/`, { token })
  const idOfCurrent = async (token: string): Promise<number> =>
    (await listSessions(token)).find(({ current }: { current: boolean }) => current).id

  test('logs another session out at once', async () => {
    const { username, password, token } = await register()
    const other = await client.logIn(username, password)
    const id = await idOfCurrent(other.token)
    await request('GET', '/api/tasks/', { token: other.token })
    expect(await end(token, id)).toMatchObject({ status: 204, body: '' })
    expect(await statusOfMe(other.token)).toBe(401)
    expect((await request('GET', '/api/tasks/', { token: other.token })).status).toBe(401)
    expect(await statusOfRefresh(other.refreshToken)).toBe(401)
    expect(await statusOfMe(token)).toBe(200)
    expect(await listSessions(token)).toHaveLength(1)
    expect((await end(token, id)).status).toBe(404)
  })

  test("logs the caller's own session out, without the slash of the path too", async () => {
    const { token, refreshToken } = await register()
    const id = await idOfCurrent(token)
    expect((await request('DELETE', `/api/sessions/${id}`, { token })).status).toBe(204)
    expect(await statusOfMe(token)).toBe(401)
    expect((await end(token, id)).status).toBe(401)
    expect(await statusOfRefresh(refreshToken)).toBe(401)
  })

  test("answers 404 for another user's session as for an absent one", async () => {
    const [ann, bob] = [await register(), await register()]
    const id = await idOfCurrent(bob.token)
    const theirs = await end(ann.token, id)
    expect(theirs.status).toBe(404)
    expect(await statusOfMe(bob.token)).toBe(200)
    expect(await statusOfRefresh(bob.refreshToken)).toBe(200)
    const { request_id, ...problem } = theirs.body
    const ids = ['999999999999', '0', '-1', '1.5', 'abc', `${id}x`, '9'.repeat(30), '%00']
    for (const none of ids.filter((it) => reaches(client.target, it))) {
      const answer = await end(ann.token, none)
      expect([none, answer.status]).toEqual([none, 404])
      expect(answer.body).toEqual({ ...problem, request_id: expect.any(String) })
    }
    expect(await statusOfMe(ann.token)).toBe(200)
  })
})
