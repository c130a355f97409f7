/** The order of checks: limit, path and method, authentication, media type and size, input, visibility. */
import { describe, expect, inject, test } from 'vitest'
import { createClient, type RequestOptions } from '../support/client.ts'

const { request, register } = createClient(inject('wide'))

type Call = [method: string, path: string, options?: RequestOptions]

const text = { body: 'hello', headers: { 'Content-Type': 'text/plain' } }
const broken = { body: '{"title":', headers: { 'Content-Type': 'application/json' } }
const large = {
  body: JSON.stringify({ title: 'x'.repeat(70_000) }),
  headers: { 'Content-Type': 'application/json' },
}

async function endedToken() {
  const { token, refreshToken } = await register()
  await request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
  return token
}

describe('path and method are checked before authentication', () => {
  test.each([undefined, 'nonsense'])('with token %s', async (token) => {
    const as = token === undefined ? {} : { token }
    for (const path of ['/api/nothing/', '/api/users/7/', '/api/users/me/tasks/', '/api/', '/api']) {
      const { status, headers } = await request('GET', path, as)
      expect([path, status]).toEqual([path, 404])
      expect(headers.get('WWW-Authenticate')).toBeNull()
    }
    const wrong: [string, string, string[]][] = [
      ['GET', '/api/register/', ['OPTIONS', 'POST']],
      ['DELETE', '/api/token/', ['OPTIONS', 'POST']],
      ['GET', '/api/token/refresh/', ['OPTIONS', 'POST']],
      ['PUT', '/api/token/revoke', ['OPTIONS', 'POST']],
      ['POST', '/api/sessions/', ['GET', 'HEAD', 'OPTIONS']],
      ['GET', '/api/sessions/1/', ['DELETE', 'OPTIONS']],
      ['PUT', '/api/users/me/', ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH']],
      ['POST', '/api/users/', ['GET', 'HEAD', 'OPTIONS']],
      ['POST', '/api/rate-limit', ['GET', 'HEAD', 'OPTIONS']],
    ]
    for (const [method, path, allowed] of wrong) {
      const { status, headers } = await request(method, path, { ...as, ...(method !== 'GET' && text) })
      expect([method, path, status]).toEqual([method, path, 405])
      expect(headers.get('Allow')?.split(/, ?/).sort()).toEqual(allowed)
    }
  })
})

describe('authentication is checked before the rest of the request', () => {
  const calls: Call[] = [
    ['PATCH', '/api/users/me/', text],
    ['PATCH', '/api/users/me/', broken],
    ['PATCH', '/api/users/me/', large],
    ['PATCH', '/api/users/me/', { json: { nonsense: 1 } }],
    ['DELETE', '/api/users/me/', { json: {} }],
    ['DELETE', '/api/sessions/abc/'],
    ['DELETE', '/api/sessions/1/?nonsense=1'],
    ['GET', '/api/sessions/?nonsense=1'],
    ['GET', '/api/users/?nonsense=1'],
    ['POST', '/api/tasks/', text],
    ['POST', '/api/tasks/', large],
    ['POST', '/api/tasks/', { json: {} }],
    ['GET', '/api/tasks/?nonsense=1'],
    ['GET', '/api/tasks/abc/'],
    ['PATCH', '/api/tasks/1/', broken],
  ]

  test.each([
    ['no token', async () => undefined],
    ['a forged token', async () => 'nonsense'],
    ['the token of an ended session', endedToken],
  ])('with %s', async (_, make) => {
    const token = await make()
    for (const [method, path, options] of calls) {
      const answer = await request(method, path, { ...options, ...(token !== undefined && { token }) })
      expect([method, path, answer.status]).toEqual([method, path, 401])
      expect(answer.body.errors).toBeUndefined()
    }
  })
})

test('media type and size are checked before input, and input before visibility', async () => {
  const { token } = await register()
  const expected: [number, ...Call][] = [
    [415, 'PATCH', '/api/users/me/?nonsense=1', text],
    [415, 'PATCH', '/api/tasks/999999999/', text],
    [413, 'PATCH', '/api/users/me/?nonsense=1', large],
    [413, 'PATCH', '/api/tasks/999999999/', large],
    [400, 'PATCH', '/api/tasks/999999999/', broken],
    [400, 'PATCH', '/api/tasks/999999999/', { json: { title: '' } }],
    [404, 'PATCH', '/api/tasks/999999999/', { json: { title: 'A task' } }],
    [400, 'DELETE', '/api/sessions/999999999/?nonsense=1'],
    [404, 'DELETE', '/api/sessions/999999999/'],
    [415, 'POST', '/api/token/?nonsense=1', text],
    [415, 'POST', '/api/register/', text],
    [415, 'POST', '/api/token/refresh/', { json: {}, headers: { 'Content-Type': 'application/json5' } }],
    [413, 'POST', '/api/register/', large],
    [413, 'POST', '/api/token/', large],
    [413, 'POST', '/api/token/revoke/', { form: { refresh_token: 'x'.repeat(70_000) } }],
    [400, 'POST', '/api/register/', broken],
    [400, 'POST', '/api/token/', { json: { username: '' } }],
  ]
  for (const [status, method, path, options] of expected) {
    const answer = await request(method, path, { ...options, token })
    expect([method, path, answer.status]).toEqual([method, path, status])
  }
})
