/** Limits and tokens over time. Only this file sets the clock of its target. */
import { describe, expect, inject, test } from 'vitest'
import { atOnce, createClient, inTurn, statuses } from '../support/client.ts'
import { countedRequests } from '../support/counted-requests.ts'

const target = inject('clocked')
const { user, anonymous, register } = target.limits
const client = createClient(target)

let now = Date.now()
async function setClock(ms: number) {
  now = ms
  await fetch(target.clockUrl, { method: 'PUT', body: String(ms) })
}
/** Begins a window of every limit that has seen no request yet. */
const beginWindow = () => setClock(Math.ceil(now / 3_600_000 + 1) * 3_600_000)

test('the previous window of a rate limit weighs by the part of it that the sliding window covers', async () => {
  await beginWindow()
  const begun = now
  const { token } = await client.register()
  const getMe = () => client.getMe(token)
  await atOnce(2 * user.limit, getMe)
  const windowMs = user.windowSeconds * 1000
  let passed = 0
  for (const part of [0.01, 0.3, 0.3, 0.5, 0.99]) {
    await setClock(begun + windowMs * (1 + part))
    const allowed = user.limit - Math.floor((1 - part) * user.limit)
    const state = await client.request('GET', '/api/rate-limit/', { token })
    expect(state.body.remaining).toBe(allowed - passed)
    const answers = await inTurn(allowed - passed + 1, getMe)
    expect(statuses(answers)).toEqual([...Array(allowed - passed).fill(200), 429])
    passed = allowed
  }
  await setClock(begun + 3 * windowMs)
  expect((await client.request('GET', '/api/rate-limit/', { token })).body.remaining).toBe(user.limit)
})

test('a registration over two limits names the limit with the longest wait', async () => {
  await beginWindow()
  const send = () => client.request('GET', '/api/register/')
  await inTurn(register.limit, send)
  const first = await send()
  await inTurn(anonymous.limit - register.limit, () => client.request('GET', '/api/nothing/'))
  const both = await send()
  expect(statuses([first, both])).toEqual([429, 429])
  expect(both.body['violated-policies']).toEqual(['register'])
  expect(both.headers.get('X-RateLimit-Reset')).toBe(first.headers.get('X-RateLimit-Reset'))
})

describe.each(Object.entries(countedRequests(target)))(
  'the limit: %s',
  (_, { limit: { limit, windowSeconds }, passed, make }) => {
    test('names the second from which a request is allowed, and counts no refused request', async () => {
      await beginWindow()
      const send = await make()
      // First after an empty window, then after a full one.
      for (let round = 0; round < 2; round++) {
        let answer = await send()
        for (let sent = 1; answer.status !== 429 && sent < 3 * limit; sent++) answer = await send()
        expect(answer.status).toBe(429)

        const { headers } = answer
        expect(headers.get('Retry-After')).toMatch(/^[1-9]\d*$/)
        const retryAfter = Number(headers.get('Retry-After'))
        expect(retryAfter).toBeLessThanOrEqual(2 * windowSeconds)
        // Both are whole seconds: the moment itself is less than one before either.
        const reset = Number(headers.get('X-RateLimit-Reset'))
        expect(Math.abs(reset - now / 1000 - retryAfter)).toBeLessThan(1)
        expect(headers.get('RateLimit')).toMatch(new RegExp(`^"[a-z]+";r=0;t=${retryAfter}$`))
        expect(headers.get('RateLimit-Policy')).toMatch(
          new RegExp(`^"[a-z]+";q=${limit};w=${windowSeconds}$`),
        )
        expect(headers.get('X-RateLimit-Limit')).toBe(String(limit))

        const due = now + retryAfter * 1000
        for (const early of [due - retryAfter * 500, due - 1000]) {
          await setClock(early)
          expect(statuses(await inTurn(3, send))).toEqual([429, 429, 429])
        }
        await setClock(due)
        expect((await send()).status).toBe(passed)
      }
    })
  },
)

test('a spent refresh token answers its successor for 10 s, and ends the session after that', async () => {
  await beginWindow()
  const { refresh, statusOfMe } = client
  const user = await client.register()
  const other = await client.logIn(user.username, user.password)
  const spentAt = now
  const second = await refresh(user.refreshToken)
  const third = await refresh(second.body.refresh_token)
  const alive = [user.token, second.body.access_token, third.body.access_token]
  for (const token of alive) expect(await statusOfMe(token)).toBe(200)

  for (const ms of [5000, 9999]) {
    await setClock(spentAt + ms)
    const { status, body } = await refresh(user.refreshToken)
    expect([ms, status, body.refresh_token]).toEqual([ms, 200, second.body.refresh_token])
  }
  await setClock(spentAt + 10_000)
  expect((await refresh(user.refreshToken)).status).toBe(401)

  expect((await refresh(third.body.refresh_token)).status).toBe(401)
  for (const token of alive) expect(await statusOfMe(token)).toBe(401)
  const { body } = await client.request('GET', '/api/sessions/', { token: other.token })
  expect(body.results).toMatchObject([{ current: true }])
  expect((await refresh(other.refreshToken)).status).toBe(200)
})
