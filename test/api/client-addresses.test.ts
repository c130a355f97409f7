/** Requests without a token are counted by the address of the client. */
import { randomInt } from 'node:crypto'
import { describe, expect, inject, test } from 'vitest'
import { type Client, createClient, inTurn, newAddress, statuses } from '../support/client.ts'
import { words } from '../support/words.ts'

const target = inject('small')
const { limit } = target.limits.anonymous

const group = () => randomInt(0x1000, 0x10000).toString(16)
const network = () => `2001:db8:${group()}:${group()}`
const spend = (client: Client) => client.request('GET', '/api/users/me/')
const remaining = async (address: string): Promise<number> =>
  (await createClient(target, address).request('GET', '/api/rate-limit/')).body.remaining

/** Requests that each of the addresses has left after one request from each of `spending`. */
const leftAfter = (spending: string[], addresses: string[]) =>
  Promise.all(spending.map((address) => spend(createClient(target, address)))).then(() =>
    inTurn(addresses.length, (i) => remaining(addresses[i] ?? '')),
  )

test('IPv6 addresses of one /64 are counted together', async () => {
  const net = network()
  const next = `${net.slice(0, -4)}${((Number.parseInt(net.slice(-4), 16) + 1) % 0x10000).toString(16)}`
  const same = [`${net}::1`, `${net}::2`, `${net}:ffff:ffff:ffff:ffff`, `${net}::1`.toUpperCase()]
  const seen = await leftAfter([`${net}::1`, `${net}:abcd::2`], [...same, `${next}::1`, newAddress()])
  expect(seen).toEqual([limit - 2, limit - 2, limit - 2, limit - 2, limit, limit])
})

test('many addresses of one /64 have one limit', async () => {
  const net = network()
  const answers = await inTurn(limit + 2, (i) => spend(createClient(target, `${net}:${group()}::${i}`)))
  expect(statuses(answers)).toEqual([...Array(limit).fill(401), 429, 429])
})

test('an IPv4-mapped address counts as the IPv4 address', async () => {
  const address = newAddress()
  const [a = 0, b = 0, c = 0, d = 0] = address.split('.').map(Number)
  const hex = `::ffff:${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`
  const neighbour = `${a}.${b}.${c}.${(d + 1) % 256}`
  const seen = await leftAfter(
    [`::ffff:${address}`, hex],
    [address, `::ffff:${address}`, neighbour, `::ffff:${neighbour}`],
  )
  expect(seen).toEqual([limit - 2, limit - 2, limit, limit])
})

describe.runIf(target.addressHeader.toLowerCase() === 'x-forwarded-for')('X-Forwarded-For', () => {
  test('counts by its last entry, regardless of entries from the client', async () => {
    const [address, victim] = [newAddress(), newAddress()]
    const forged = [
      victim,
      `${victim}, ${newAddress()}`,
      'unknown',
      '127.0.0.1',
      '',
      `${network()}::1`,
      '"',
      '::1',
    ]
    const answers = await inTurn(limit + 4, (i) =>
      spend(createClient(target, `${forged[i % forged.length]}, ${address}`)),
    )
    const left = [await remaining(address), await remaining(victim)]
    expect(statuses(answers)).toEqual([...Array(limit).fill(401), ...Array(4).fill(429)])
    expect(left).toEqual([0, limit])
  })

  test('counts other forms of the same address together', async () => {
    const [address, net] = [newAddress(), network()]
    const seen = await leftAfter(
      [address, ` ${address} `, `${address}:4711`, `${net}::1`, `[${net}::1]`, `[${net}::1]:4711`],
      [address, `${net}::1`],
    )
    expect(seen).toEqual([limit - 3, limit - 3])
  })
})

describe('headers that no setting trusts', () => {
  const headers = words(`
    X-Real-IP CF-Connecting-IP True-Client-IP X-Client-IP Forwarded X-Forwarded-For
  `).filter((name) => name.toLowerCase() !== target.addressHeader.toLowerCase())

  test.each(headers)('%s is ignored', async (name) => {
    const [client, forged] = [createClient(target), newAddress()]
    const value = name === 'Forwarded' ? `for=${forged}` : forged
    await client.request('GET', '/api/users/me/', { headers: { [name]: value } })
    const left = [await remaining(client.address), await remaining(forged)]
    expect(left).toEqual([limit - 1, limit])
  })
})
