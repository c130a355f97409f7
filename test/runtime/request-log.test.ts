/**
 * Log lines of requests: they show who attacks, and nothing that anybody has typed.
 */
import { request as httpRequest } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createClient, inTurn, newAddress, newName } from '../support/client.ts'
import { type ApiProcess, type Line, startApi } from '../support/processes.ts'

let api: ApiProcess

beforeAll(async () => {
  api = await startApi({
    environment: {
      TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
      RATE_LIMIT_ANONYMOUS: '1000/60s',
      RATE_LIMIT_LOGIN: '3/24h',
      BCRYPT_COST: '4',
    },
  })
})
afterAll(async () => {
  await api?.stop()
})

const newClient = () => createClient(api, newAddress())

/** The log line with this request id. */
async function logged(act: (headers: Record<string, string>) => Promise<unknown>): Promise<Line> {
  const id = newName('request')
  await act({ 'X-Request-Id': id })
  return api.line(({ message, request_id }) => message === 'request' && request_id === id)
}

describe('the line of', () => {
  test('a log-in has the address and the user id, right or wrong, but not the name', async () => {
    const client = newClient()
    const ann = await client.register()
    const logIn = (username: string, password: string) =>
      logged((headers) => client.request('POST', '/api/token/', { json: { username, password }, headers }))
    const told = { route: '/api/token/', address: client.address }
    expect(await logIn(ann.username, ann.password)).toMatchObject({ ...told, status: 200, user_id: ann.id })
    expect(await logIn(ann.username.toUpperCase(), 'wrong horse')).toMatchObject({
      ...told,
      status: 401,
      user_id: ann.id,
    })
    const nobody = newName('nobody')
    expect(await logIn(nobody, 'wrong horse')).toMatchObject({ ...told, status: 401, user_id: null })
    const [refused] = (await inTurn(4, () => logIn(ann.username, 'wrong horse'))).slice(-1)
    expect(refused).toMatchObject({ ...told, status: 429 })
    expect(JSON.stringify(api.lines)).not.toContain(nobody)
    expect(JSON.stringify(api.lines).toLowerCase()).not.toContain(ann.username)
  })

  test('a refresh has the address and the user id', async () => {
    const client = newClient()
    const ann = await client.register()
    const refresh = () =>
      logged((headers) =>
        client.request('POST', '/api/token/refresh/', { json: { refresh_token: ann.refreshToken }, headers }),
      )
    expect(await refresh()).toMatchObject({ status: 200, user_id: ann.id, address: client.address })
  })

  type Prepared = { token: string; path: string; userId: number | null }
  const cases: [status: number, method: string, prepare: () => Promise<Prepared>][] = [
    [401, 'GET', async () => ({ token: 'nonsense', path: '/api/tasks/', userId: null })],
    [403, 'DELETE', forbidden],
  ]
  test.each(cases)('a %i has the address', async (status, method, prepare) => {
    const client = newClient()
    const { token, path, userId } = await prepare()
    const line = await logged((headers) => client.request(method, path, { token, headers }))
    expect(line).toMatchObject({ status, address: client.address, user_id: userId })
  })

  async function forbidden(): Promise<Prepared> {
    const [ann, bob] = [await newClient().register(), await newClient().register()]
    const { id } = await newClient().createTask(ann.token, { assigned_to: bob.id })
    return { token: bob.token, path: `/api/tasks/${id}/`, userId: bob.id }
  }

  test('an ordinary request has neither address nor path', async () => {
    const client = newClient()
    const { token } = await client.register()
    const line = await logged((headers) =>
      client.request('GET', '/api/tasks/?search=secret', { token, headers }),
    )
    expect(line).toMatchObject({ status: 200, route: '/api/tasks/' })
    expect(line).not.toHaveProperty('address')
    expect(line).not.toHaveProperty('path')
    expect(JSON.stringify(line)).not.toContain('secret')
  })

  test.each([
    ['/wp-login.php?user=ann', '/wp-login.php'],
    ['/api/nothing/', '/api/nothing/'],
    ['/api/%E2%80%AEgnp.exe%0A%1b[2J', '/api/%E2%80%AEgnp.exe%0A%1b[2J'],
    ['/%C2%9B31m', '/%C2%9B31m'],
    [`/${'a'.repeat(5000)}`, `/${'a'.repeat(199)}…`],
  ])('an unknown path has it, bounded and harmless: %s', async (path, told) => {
    const client = newClient()
    const line = await logged(
      (headers) =>
        new Promise((resolve, reject) => {
          const { port, hostname } = new URL(api.baseUrl)
          const all = { ...headers, 'X-Forwarded-For': client.address }
          const sent = httpRequest({ hostname, port, path, headers: all }, (response) =>
            resolve(response.resume()),
          )
          sent.on('error', reject).end()
        }),
    )
    expect(line).toMatchObject({ status: 404, route: null, path: told, address: client.address })
  })
})
