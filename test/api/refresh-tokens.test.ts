import { describe, expect, inject, test } from 'vitest'
import { createClient } from '../support/client.ts'

const client = createClient(inject('wide'))
const { request, register, refresh, statusOfMe } = client

const next = async (refreshToken: string): Promise<string> => {
  const { status, body } = await refresh(refreshToken)
  expect(status).toBe(200)
  return body.refresh_token
}

test('a refresh answers tokens of the same session', async () => {
  const { token, refreshToken, id } = await register()
  const { status, headers, body } = await refresh(refreshToken)
  expect(status).toBe(200)
  expect(body).toEqual({
    access_token: expect.any(String),
    token_type: 'Bearer',
    expires_in: expect.any(Number),
    refresh_token: expect.any(String),
  })
  expect(headers.get('Cache-Control')).toBe('no-store')
  expect(body.refresh_token).not.toBe(refreshToken)
  expect(body.access_token).not.toBe(token)
  expect((await request('GET', '/api/users/me/', { token: body.access_token })).body.id).toBe(id)
  // The access token from before is good until it expires.
  expect(await statusOfMe(token)).toBe(200)
  const { body: sessions } = await request('GET', '/api/sessions/', { token: body.access_token })
  expect(sessions.results).toMatchObject([{ current: true }])
  expect(await next(body.refresh_token)).not.toBe(body.refresh_token)
})

test('a refresh takes a form and a path without the slash, and ignores Authorization', async () => {
  const { refreshToken } = await register()
  const answer = await request('POST', '/api/token/refresh', {
    form: { refresh_token: refreshToken },
    token: 'nonsense',
  })
  expect(answer.status).toBe(200)
})

describe('a spent refresh token', () => {
  test('answers its successor, even when that is spent too', async () => {
    const { refreshToken: first } = await register()
    const second = await next(first)
    expect(await next(first)).toBe(second)
    expect(await next(first)).toBe(second)
    const third = await next(second)
    expect(await next(first)).toBe(second)
    expect(await next(second)).toBe(third)
    const again = await refresh(first)
    expect(again.headers.get('Cache-Control')).toBe('no-store')
    expect(await statusOfMe(again.body.access_token)).toBe(200)
    expect(await next(third)).not.toBe(third)
  })

  test('answers the same successor to twenty concurrent requests', async () => {
    for (let round = 0; round < 5; round++) {
      const { refreshToken } = await register()
      const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(refreshToken)))
      expect(answers.map(({ status }) => status)).toEqual(Array(20).fill(200))
      const successors = new Set(answers.map(({ body }) => body.refresh_token))
      expect(successors.size).toBe(1)
      expect(successors).not.toContain(refreshToken)
      for (const { body } of answers) expect(await statusOfMe(body.access_token)).toBe(200)
      const [successor] = successors
      expect(await next(successor)).not.toBe(successor)
    }
  })

  test('is refused once the session is revoked', async () => {
    const { refreshToken: first } = await register()
    const second = await next(first)
    const revoked = await request('POST', '/api/token/revoke/', { json: { refresh_token: second } })
    expect(revoked.status).toBe(200)
    expect((await refresh(first)).status).toBe(401)
    expect((await refresh(second)).status).toBe(401)
  })
})

test('refreshes concurrent with a revocation leave no valid token', async () => {
  for (let round = 0; round < 10; round++) {
    const { token, refreshToken } = await register()
    const refreshes = Array.from({ length: 4 }, () => refresh(refreshToken))
    const revoked = request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
    refreshes.push(refresh(refreshToken))
    expect((await revoked).status).toBe(200)
    for (const { status, body } of await Promise.all(refreshes)) {
      expect([200, 401]).toContain(status)
      if (status === 401) continue
      expect(await statusOfMe(body.access_token)).toBe(401)
      expect((await refresh(body.refresh_token)).status).toBe(401)
    }
    expect(await statusOfMe(token)).toBe(401)
  }
})

describe('an invalid refresh token', () => {
  /** Digits stay digits, so that changed numbers are tried too. */
  const changeAt = (text: string, at: number) =>
    text.slice(0, at) + text.charAt(at).replace(/./, changeCharacter) + text.slice(at + 1)
  const changeCharacter = (character: string) =>
    /\d/.test(character) ? String((Number(character) + 9) % 10) : character === 'A' ? 'B' : 'A'

  test('is a 401 and changes nothing', async () => {
    const { token, refreshToken } = await register()
    const stranger = await register()
    const third = await next(await next(refreshToken))
    const half = Math.floor(third.length / 2)
    const changed = [...third].map((_, i) => changeAt(third, i))
    const spliced = [
      third.slice(0, half) + refreshToken.slice(half),
      stranger.refreshToken.slice(0, half) + third.slice(half),
    ]
    for (const invalid of ['', 'nonsense', token, `${third}x`, third.slice(0, -2), ...changed, ...spliced]) {
      const { status, headers } = await refresh(invalid)
      // The contract leaves open whether a malformed token is a 400 or a 401.
      if (invalid.length === third.length) expect([invalid, status]).toEqual([invalid, 401])
      else expect([400, 401]).toContain(status)
      if (status === 401) expect(headers.get('WWW-Authenticate')).toMatch(/^Bearer\b/)
    }
    expect(await statusOfMe(token)).toBe(200)
    expect(await statusOfMe(stranger.token)).toBe(200)
    expect(await next(third)).not.toBe(third)
    expect(await next(stranger.refreshToken)).not.toBe(stranger.refreshToken)
  })

  test('is not an access token', async () => {
    const { refreshToken } = await register()
    expect(await statusOfMe(refreshToken)).toBe(401)
  })

  test.each([
    ['nothing', {}, '/refresh_token'],
    ['a number', { refresh_token: 1 }, '/refresh_token'],
    ['an unknown member', { refresh_token: 'x', grant_type: 'refresh_token' }, '/grant_type'],
  ])('%s is a 400', async (_, json, pointer) => {
    for (const path of ['/api/token/refresh/', '/api/token/revoke/']) {
      const { status, body } = await request('POST', path, { json })
      expect(status).toBe(400)
      expect(body.errors).toContainEqual({ pointer, detail: expect.any(String) })
    }
  })
})
