import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { clientAddress, limitAddress } from '../../src/http/client-address.ts'

describe('what limits count an address as', () => {
  test.each([
    ['192.0.2.7', '192.0.2.7'],
    [' 192.0.2.7 ', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:C000:0207', '192.0.2.7'],
    ['0:0:0:0:0:ffff:c000:207', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
    ['2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['::1', '::/64'],
    ['fe80::1%eth0', 'fe80::/64'],
    ['fe80::2%en-1.5', 'fe80::/64'],
  ])('%s is %s', (address, expected) => {
    expect(limitAddress(address)).toBe(expected)
  })

  test.each([
    '',
    'localhost',
    'unknown',
    '1',
    '2130706433',
    '0x7f.1',
    '010.0.0.1',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '1.2.3.4/24',
    '1:2:3:4:5:6:7:8:9',
    '2001:db8::1::2',
    '2001:db8::/64',
    '%eth0',
    '[]',
    '١.٢.٣.٤',
  ])('%j is no address', (address) => {
    expect(limitAddress(address)).toBe('unknown')
  })

  test('is the same for every way to write an address, and for every address of a /64', () => {
    const group = fc.integer({ min: 0, max: 0xffff })
    const network = fc.tuple(fc.integer({ min: 0x2000, max: 0x3fff }), group, group, group)
    const host = fc.tuple(group, group, group, group)
    fc.assert(
      fc.property(network, host, host, (prefix, one, another) => {
        const short = [...prefix, ...one].map((part) => part.toString(16)).join(':')
        const long = [...prefix, ...another]
          .map((part) => part.toString(16).padStart(4, '0').toUpperCase())
          .join(':')
        expect(limitAddress(short)).toBe(limitAddress(long))
      }),
    )
  })
})

describe("the client's address", () => {
  const connection = '198.51.100.1'
  const forwarded = (header: string | undefined, hops = 1) =>
    clientAddress({ connection, header, forwardedForHops: hops })

  test('is the connection’s without a trusted header', () => {
    expect(clientAddress({ connection, header: undefined, forwardedForHops: null })).toBe(connection)
    expect(forwarded(undefined)).toBe(connection)
    expect(clientAddress({ connection: '::ffff:192.0.2.7', header: undefined, forwardedForHops: null })).toBe(
      '192.0.2.7',
    )
  })

  test('is unknown when the connection has none', () => {
    expect(clientAddress({ connection: undefined, header: undefined, forwardedForHops: null })).toBe(
      'unknown',
    )
    expect(clientAddress({ connection: undefined, header: 'nonsense', forwardedForHops: 1 })).toBe('unknown')
  })

  test.each([
    ['192.0.2.7', '192.0.2.7'],
    ['192.0.2.7:5678', '192.0.2.7'],
    ['  192.0.2.7  ', '192.0.2.7'],
    ['2001:DB8::7', '2001:db8::7'],
    ['[2001:db8::7]', '2001:db8::7'],
    ['[2001:db8::7]:5678', '2001:db8::7'],
    ['[fe80::7%eth0]:5678', 'fe80::7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['[::ffff:192.0.2.7]:5678', '192.0.2.7'],
  ])('is read out of an entry such as %s', (entry, expected) => {
    expect(forwarded(entry)).toBe(expected)
    expect(forwarded(`203.0.113.9, ${entry}`)).toBe(expected)
    expect(clientAddress({ connection, header: entry, forwardedForHops: null })).toBe(expected)
  })

  test.each([
    '',
    ' ',
    'unknown',
    '_hidden',
    '192.0.2.7:',
    '192.0.2.7:port',
    '192.0.2.7:123456',
    '[192.0.2.7]x',
    '[2001:db8::7',
    '"192.0.2.7"',
    '010.0.0.1',
    '192.0.2.7 203.0.113.9',
  ])('is the connection’s when the entry is %j', (entry) => {
    expect(forwarded(entry)).toBe(connection)
    expect(forwarded(`203.0.113.9,${entry}`)).toBe(connection)
  })

  test('is the entry that many from the right', () => {
    const header = '203.0.113.9, 192.0.2.1,192.0.2.2 , 192.0.2.3'
    expect([1, 2, 3, 4].map((hops) => forwarded(header, hops))).toEqual([
      '192.0.2.3',
      '192.0.2.2',
      '192.0.2.1',
      '203.0.113.9',
    ])
    expect(forwarded(header, 5)).toBe(connection)
  })

  test('counts empty entries, so that none can shift another into its place', () => {
    expect(forwarded('203.0.113.9,,192.0.2.3', 2)).toBe(connection)
    expect(forwarded(',192.0.2.3', 1)).toBe('192.0.2.3')
  })

  test('is the connection’s when a header of one address holds two', () => {
    expect(clientAddress({ connection, header: '203.0.113.9, 192.0.2.3', forwardedForHops: null })).toBe(
      connection,
    )
  })

  test('is never what the client itself wrote in front', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 4 }), (spoofed, hops) => {
        const appended = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'].slice(0, hops)
        expect(forwarded([spoofed, ...appended].join(','), hops)).toBe('192.0.2.1')
      }),
    )
  })
})
