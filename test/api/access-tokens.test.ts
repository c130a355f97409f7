import { createHmac, randomUUID } from 'node:crypto'
import { decodeJwt, decodeProtectedHeader, jwtVerify, SignJWT, UnsecuredJWT } from 'jose'
import { describe, expect, inject, test } from 'vitest'
import { createClient, type User } from '../support/client.ts'

const target = inject('wide')
const { request, register, getMe } = createClient(target)

const secretOf = (text: string) => new TextEncoder().encode(text)
const secret = secretOf(target.jwtSecret)
const now = () => Math.floor(Date.now() / 1000)

type Forgery = { claims?: Record<string, unknown>; header?: Record<string, unknown>; secret?: Uint8Array }

/** The token with other claims and header parameters, signed again; undefined removes one. */
function forge(token: string, { claims = {}, header = {}, secret: key = secret }: Forgery = {}) {
  return new SignJWT({ ...decodeJwt(token), jti: randomUUID(), ...claims })
    .setProtectedHeader({ ...decodeProtectedHeader(token), alg: 'HS256', ...header })
    .sign(key)
}

const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
const withAuthorization = (value: string, path = '/api/users/me/') =>
  request('GET', path, { headers: { Authorization: value } })

describe('an access token', () => {
  test('is a JWT signed by the secret, valid for as long as the answer says', async () => {
    const { username, password, id } = await register()
    const login = await request('POST', '/api/token/', { json: { username, password } })
    const token: string = login.body.access_token
    const { payload, protectedHeader } = await jwtVerify(token, secret)
    expect(protectedHeader.alg).toBe('HS256')
    expect(payload).toMatchObject({
      iss: expect.any(String),
      aud: expect.any(String),
      sub: String(id),
      iat: expect.any(Number),
      exp: expect.any(Number),
      jti: expect.any(String),
    })
    const { iat = 0, exp = 0 } = payload
    expect(exp - iat).toBe(login.body.expires_in)
    expect(Math.abs(iat - now())).toBeLessThan(60)
    const refreshed = await request('POST', '/api/token/refresh/', {
      json: { refresh_token: login.body.refresh_token },
    })
    const next = decodeJwt(refreshed.body.access_token)
    expect(next).toMatchObject({ iss: payload.iss, aud: payload.aud, sub: payload.sub })
    expect(next.jti).not.toBe(payload.jti)
    expect(JSON.stringify(payload)).not.toContain(username)
  })

  test('is read only from the Authorization header, with Bearer in any case', async () => {
    const { token, id } = await register()
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const answer = await withAuthorization(`${scheme} ${token}`)
      expect(answer).toMatchObject({ status: 200, body: { id } })
    }
    expect((await request('GET', `/api/users/me/?access_token=${token}`)).status).toBe(401)
    const inCookie = await request('GET', '/api/users/me/', { headers: { Cookie: `access_token=${token}` } })
    expect(inCookie.status).toBe(401)
  })

  // Proves that the tokens below are refused for their fault alone, and that renaming a secret keeps
  // sessions.
  test.each<[string, (token: string) => Forgery]>([
    ['with the claims it had', () => ({})],
    ['without a key id', () => ({ header: { kid: undefined } })],
    ['with an unknown key id', () => ({ header: { kid: 'of-old-days' } })],
    ['for several audiences', (token) => ({ claims: { aud: ['elsewhere', String(decodeJwt(token).aud)] } })],
    ['with a claim of somebody else', () => ({ claims: { 'https://example.com/role': 'x' } })],
  ])('signed by the secret is valid %s', async (_, forgery) => {
    const { token, id } = await register()
    const forged = await forge(token, forgery(token))
    expect(await getMe(forged)).toMatchObject({ status: 200, body: { id } })
  })
})

describe('a token is refused by every operation', () => {
  const bad: [string, (user: User, other: User) => string | Promise<string>][] = [
    ['that is no JWT', () => 'nonsense'],
    ['of three parts of nothing', () => '..'],
    ['of one part too many', ({ token }) => `${token}.x`],
    ['without its signature', ({ token }) => `${token.slice(0, token.lastIndexOf('.'))}.`],
    ['with padding', ({ token }) => `${token}=`],
    // The last two bits of the last character mean nothing; in our tokens they are 0.
    [
      'in another spelling',
      ({ token }) => token.replace(/.$/, (last) => String.fromCharCode(last.charCodeAt(0) + 1)),
    ],
    ['with a changed payload', ({ token }, other) => changePayload(token, { sub: String(other.id) })],
    ['with bytes that are no UTF-8', () => 'é\u00ff'],
    ['of 6,000 characters', () => 'x'.repeat(6000)],
    ['signed by another secret', ({ token }) => forge(token, { secret: secretOf('x'.repeat(40)) })],
    [
      'signed by another secret, naming no key',
      ({ token }) => forge(token, { secret: secretOf('x'.repeat(40)), header: { kid: undefined } }),
    ],
    ['signed by HS384', ({ token }) => signAs(token, { alg: 'HS384' }, 'sha384')],
    ['signed by HS512', ({ token }) => signAs(token, { alg: 'HS512' }, 'sha512')],
    ['of alg none', ({ token }) => new UnsecuredJWT(decodeJwt(token)).encode()],
    ['of alg none, signed', ({ token }) => signAs(token, { alg: 'none' })],
    ['of alg nOnE', ({ token }) => signAs(token, { alg: 'nOnE' }).replace(/[^.]*$/, '')],
    ['of no alg, signed', ({ token }) => signAs(token, { alg: undefined })],
    ['with a critical extension', ({ token }) => signAs(token, { crit: ['x'], x: 1 })],
    ['that has expired', ({ token }) => forge(token, { claims: { iat: now() - 7200, exp: now() - 3600 } })],
    ['that has expired just now', ({ token }) => forge(token, { claims: { exp: now() - 1 } })],
    ['that never expires', ({ token }) => forge(token, { claims: { exp: undefined } })],
    ['that is not good yet', ({ token }) => forge(token, { claims: { nbf: now() + 3600 } })],
    ['for another audience', ({ token }) => forge(token, { claims: { aud: 'elsewhere' } })],
    ['for no audience', ({ token }) => forge(token, { claims: { aud: undefined } })],
    ['of another issuer', ({ token }) => forge(token, { claims: { iss: 'elsewhere' } })],
    ['of no issuer', ({ token }) => forge(token, { claims: { iss: undefined } })],
    ['of nobody', ({ token }) => forge(token, { claims: { sub: undefined } })],
    ['of a user who never was', ({ token }) => forge(token, { claims: { sub: '999999999999' } })],
    ["of somebody else's session", ({ token }, other) => forge(token, { claims: { sub: String(other.id) } })],
    ['of a subject that is no id', ({ token }) => forge(token, { claims: { sub: "1' or '1'='1" } })],
    ['that is a refresh token', ({ refreshToken }) => refreshToken],
    ['of a user since deleted', deleteAccount],
    ['of a session since ended', revokeSession],
  ]

  test.each(bad)('%s', async (_, make) => {
    const user = await register()
    const token = await make(user, await register())
    const authorization = Buffer.from(`Bearer ${token}`, 'utf8').toString('latin1')
    const requests: [string, string, unknown?][] = [
      ['GET', '/api/users/me/'],
      ['GET', '/api/tasks/'],
      ['GET', '/api/tasks/1/'],
      ['POST', '/api/tasks/', { title: 'A task' }],
      ['GET', '/api/sessions/'],
      ['GET', '/api/users/'],
      ['PATCH', '/api/users/me/', { email: 'ann@example.com' }],
      ['DELETE', '/api/users/me/', { password: user.password }],
      ['GET', '/api/rate-limit/'],
    ]
    for (const [method, path, json] of requests) {
      const headers = { Authorization: authorization }
      const answer = await request(method, path, { headers, ...(json !== undefined && { json }) })
      expect([method, path, answer.status]).toEqual([method, path, 401])
      expect(answer.headers.get('Content-Type')).toMatch(/^application\/problem\+json/)
      expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer .*\berror="invalid_token"/)
      expect(answer.body).toMatchObject({ title: 'Unauthorized', status: 401 })
    }
  })

  function changePayload(token: string, changes: Record<string, unknown>) {
    const [header, , signature] = token.split('.')
    return [header, base64url({ ...decodeJwt(token), ...changes }), signature].join('.')
  }

  /** Signed by the right secret under headers that jose would not sign. */
  function signAs(token: string, header: Record<string, unknown>, hash = 'sha256') {
    const [, payload] = token.split('.')
    const signed = `${base64url({ ...decodeProtectedHeader(token), ...header })}.${payload}`
    return `${signed}.${createHmac(hash, secret).update(signed).digest('base64url')}`
  }

  async function deleteAccount({ token, password }: User) {
    expect((await getMe(token)).status).toBe(200)
    const { status } = await request('DELETE', '/api/users/me/', { token, json: { password } })
    expect(status).toBe(204)
    return token
  }

  async function revokeSession({ token, refreshToken }: User) {
    expect((await getMe(token)).status).toBe(200)
    const json = { refresh_token: refreshToken }
    expect((await request('POST', '/api/token/revoke/', { json })).status).toBe(200)
    return token
  }
})

test.each([
  ['without an Authorization header', undefined],
  ['with credentials of another scheme', 'Basic YW5uOmNvcnJlY3QgaG9yc2U='],
])('a request %s is challenged without an error code', async (_, value) => {
  for (const path of ['/api/users/me/', '/api/tasks/', '/api/sessions/', '/api/users/']) {
    const headers = value === undefined ? {} : { Authorization: value }
    const answer = await request('GET', path, { headers })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('WWW-Authenticate')).toMatch(/^Bearer\b/)
    expect(answer.headers.get('WWW-Authenticate')).not.toContain('error')
  }
})

test('the 401 for a bad token does not reveal its fault', async () => {
  const { token } = await register()
  const expired = await forge(token, { claims: { exp: now() - 3600 } })
  const forged = await forge(token, { secret: secretOf('x'.repeat(40)) })
  const bodies = []
  for (const value of ['nonsense', expired, forged]) {
    const { body, headers } = await getMe(value)
    const { request_id, ...problem } = body
    bodies.push({ ...problem, challenge: headers.get('WWW-Authenticate') })
  }
  expect(bodies[1]).toEqual(bodies[0])
  expect(bodies[2]).toEqual(bodies[0])
})
