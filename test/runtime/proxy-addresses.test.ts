/** Trusted peers, and the header `Forwarded`. */
import { request as httpRequest } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import { newAddress } from '../support/client.ts'
import { type ApiProcess, startApi } from '../support/processes.ts'

async function start(environment: Record<string, string>) {
  const api = await startApi({ environment: { BCRYPT_COST: '4', ...environment } })
  onTestFinished(async () => void (await api.stop()))
  return api
}

/** The rest of the limit of the address to which a request from this local peer counts. */
function left(api: ApiProcess, peer: string, headers: Record<string, string>): Promise<number> {
  const { hostname, port } = new URL(api.baseUrl)
  return new Promise((resolve, reject) => {
    const sent = httpRequest(
      { hostname, port, path: '/api/tasks/', localAddress: peer, headers },
      (response) => {
        response.resume()
        resolve(Number(response.headers['x-ratelimit-remaining']))
      },
    )
    sent.on('error', reject).end()
  })
}

// Only Linux has all of 127.0.0.0/8 on loopback.
describe.runIf(process.platform === 'linux')('TRUSTED_PROXY_ADDRESSES', () => {
  test('the header counts from listed peers only; one warning names another peer that sent it', async () => {
    const api = await start({
      TRUSTED_PROXY_HEADER: 'X-Forwarded-For',
      TRUSTED_PROXY_ADDRESSES: '127.0.0.2, ::ffff:127.0.1.0/120',
      RATE_LIMIT_ANONYMOUS: '100/24h',
    })
    const from = (peer: string) => left(api, peer, { 'X-Forwarded-For': newAddress() })
    expect([await from('127.0.0.2'), await from('127.0.0.2'), await from('127.0.1.77')]).toEqual([99, 99, 99])
    // Other peers count as themselves.
    expect([await from('127.0.0.1'), await from('127.0.0.1'), await from('127.0.2.1')]).toEqual([99, 98, 99])
    const notices = api.lines.filter(({ message }) => message?.includes('TRUSTED_PROXY_ADDRESSES'))
    expect(notices).toMatchObject([{ level: 'warn', header: 'x-forwarded-for', address: '127.0.0.1' }])
  })
})

test('Forwarded is read by RFC 7239, from the right', async () => {
  const api = await start({
    TRUSTED_PROXY_HEADER: 'Forwarded',
    TRUSTED_PROXY_HOPS: '2',
    RATE_LIMIT_ANONYMOUS: '100/24h',
  })
  const from = (client: string) =>
    left(api, '127.0.0.1', { Forwarded: `for="forged, for=${client}, For="_proxy:80";by=192.0.2.1` })
  const address = newAddress()
  expect(await from(`"${address}:4711";proto=https`)).toBe(99)
  expect(await from(address)).toBe(98)
  expect(await from('"[2001:db8::1]:4711"')).toBe(99)
  expect(await from('"[2001:DB8::2]"')).toBe(98)
  // Names count as the address of the connection.
  expect([await from('unknown'), await from('_hidden')]).toEqual([99, 98])
})
