import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isWithin, limitAddress, nearbyRanges, parseAddress, parseRange } from '../../src/core/addresses.ts'
import { clientAddress } from '../../src/http/client-address.ts'

describe('the identity of an address in limits', () => {
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
    ...'|localhost|unknown|1|2130706433|0x7f.1|010.0.0.1|1.2.3|1.2.3.4.5|256.1.1.1'.split('|'),
    ...'1.2.3.4/24|1:2:3:4:5:6:7:8:9|2001:db8::1::2|2001:db8::/64|%eth0|[]|١.٢.٣.٤'.split('|'),
  ])('%j is not an address', (address) => {
    expect(limitAddress(address)).toBe('unknown')
  })

  test('is the same for every form of an address and every address of a /64', () => {
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
  const proxy = { header: 'x-forwarded-for', hops: 1, peers: undefined }
  const forwarded = (header: string | undefined, hops = 1) =>
    clientAddress({ connection, header, proxy: { ...proxy, hops } })
  const single = (header: string | undefined, from: string | undefined = connection) =>
    clientAddress({ connection: from, header, proxy: { ...proxy, header: 'x-real-ip' } })

  test('is the connection’s without a trusted header', () => {
    expect(clientAddress({ connection, header: undefined, proxy: undefined })).toBe(connection)
    expect(clientAddress({ connection, header: '192.0.2.7', proxy: undefined })).toBe(connection)
    expect(forwarded(undefined)).toBe(connection)
    expect(single(undefined, '::ffff:192.0.2.7')).toBe('192.0.2.7')
  })

  test('is unknown when the connection has none', () => {
    expect(clientAddress({ connection: undefined, header: undefined, proxy: undefined })).toBe('unknown')
    expect(clientAddress({ connection: undefined, header: 'nonsense', proxy })).toBe('unknown')
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
  ])('is parsed from an entry such as %s', (entry, expected) => {
    expect(forwarded(entry)).toBe(expected)
    expect(forwarded(`203.0.113.9, ${entry}`)).toBe(expected)
    expect(single(entry)).toBe(expected)
  })

  test.each([
    ...'| |unknown|_hidden|192.0.2.7:|192.0.2.7:port|192.0.2.7:123456|[192.0.2.7]x'.split('|'),
    ...'[2001:db8::7|"192.0.2.7"|010.0.0.1|192.0.2.7 203.0.113.9'.split('|'),
  ])('is the connection’s when the entry is %j', (entry) => {
    expect(forwarded(entry)).toBe(connection)
    expect(forwarded(`203.0.113.9,${entry}`)).toBe(connection)
  })

  test('is the entry at the number of trusted hops from the right', () => {
    const header = '203.0.113.9, 192.0.2.1,192.0.2.2 , 192.0.2.3'
    expect([1, 2, 3, 4].map((hops) => forwarded(header, hops))).toEqual([
      ...'192.0.2.3|192.0.2.2|192.0.2.1|203.0.113.9'.split('|'),
    ])
    expect(forwarded(header, 5)).toBe(connection)
  })

  test('counts empty entries, so that they shift no other', () => {
    expect(forwarded('203.0.113.9,,192.0.2.3', 2)).toBe(connection)
    expect(forwarded(',192.0.2.3', 1)).toBe('192.0.2.3')
  })

  test('is the connection’s when a header for one address has two', () => {
    expect(single('203.0.113.9, 192.0.2.3')).toBe(connection)
  })

  test('is never an entry that the client sent', () => {
    fc.assert(
      fc.property(fc.string(), fc.integer({ min: 1, max: 4 }), (spoofed, hops) => {
        const appended = ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'].slice(0, hops)
        expect(forwarded([spoofed, ...appended].join(','), hops)).toBe('192.0.2.1')
      }),
    )
  })
})

describe('the header Forwarded', () => {
  const connection = '198.51.100.1'
  const read = (header: string, hops = 1) =>
    clientAddress({ connection, header, proxy: { header: 'forwarded', hops, peers: undefined } })

  test.each([
    // Examples of RFC 7239, sections 4 and 7.1.
    ['for=192.0.2.60;proto=http;by=203.0.113.43', '192.0.2.60'],
    ['For="[2001:db8:cafe::17]:4711"', '2001:db8:cafe::17'],
    ['for=192.0.2.43, for=198.51.100.17', '198.51.100.17'],
    ['for=192.0.2.43,for="[2001:db8:cafe::17]",for=192.0.2.61', '192.0.2.61'],
    ['for="192.0.2.43:47011"', '192.0.2.43'],
    ['for="[2001:db8:cafe::17]:47011"', '2001:db8:cafe::17'],
    // A port may be obfuscated, an address may not.
    ['for="192.0.2.43:_port"', '192.0.2.43'],
    ['for="[2001:db8::1]:_a.b-c"', '2001:db8::1'],
    ['for="[::ffff:192.0.2.7]"', '192.0.2.7'],
    ['proto=https;FOR=192.0.2.1;host="a.example, b.example; c"', '192.0.2.1'],
    ['  for=192.0.2.1 ; proto=http  ', '192.0.2.1'],
    ['for="\\1\\92.0.2.1"', '192.0.2.1'],
    ['host="x\\"y, for=203.0.113.9";for=192.0.2.1', '192.0.2.1'],
    // Proxies write these forms, against the RFC.
    ['for=192.0.2.1:8080', '192.0.2.1'],
    ['for=[2001:db8::1]:8080', '2001:db8::1'],
    ['for="2001:db8::1"', '2001:db8::1'],
  ])('%s names %s', (header, expected) => {
    expect(read(header)).toBe(expected)
  })

  test.each([
    ...'|for=unknown|for=_hidden|for="_SEVKISEK:80"|for="unknown:80"|for=_mdn|for=""'.split('|'),
    ...'for=|for|192.0.2.1|by=192.0.2.1|for=192.0.2.1;for=192.0.2.2|for="192.0.2.1'.split('|'),
    ...'for="192.0.2.1"x|for=192.0.2.1 proto=http|for=192.0.2.1,|for="010.0.0.1"'.split('|'),
    'xfor=192.0.2.1',
  ])('%j has no address, so the connection’s is used', (header) => {
    expect(read(header)).toBe(connection)
  })

  test('is read from the right, as proxies append', () => {
    const header = 'for=203.0.113.9, for="[2001:db8::2]:1";by="a, b" , for=192.0.2.3;proto=http'
    expect([1, 2, 3, 4].map((hops) => read(header, hops))).toEqual([
      '192.0.2.3',
      '2001:db8::2',
      '203.0.113.9',
      connection,
    ])
  })

  test('is never an entry that the client sent, even with open quotes', () => {
    const appended = ['for="[2001:db8::1]:4711";proto=https', 'for=192.0.2.2', 'for="192.0.2.3:80";by="_x,y"']
    const spoofed = fc.oneof(
      fc.string(),
      fc.string({
        unit: fc.constantFrom('"', '\\', ',', ';', '=', ' ', 'for=', '203.0.113.9'),
        maxLength: 12,
      }),
    )
    fc.assert(
      fc.property(spoofed, fc.integer({ min: 1, max: 3 }), (text, hops) => {
        const header = [text, ...appended.slice(-hops)].join(', ')
        expect(read(header, hops)).toBe(['192.0.2.3', '192.0.2.2', '2001:db8::1'][hops - 1])
      }),
      {
        numRuns: 2000,
        examples: [
          ['"', 1],
          ['for=203.0.113.9;x="', 2],
          ['for="\\', 1],
          ['a="b\\', 3],
        ],
      },
    )
  })
})

describe('a proxy header is trusted from certain peers', () => {
  const read = (connection: string | undefined, ranges: string[]) => {
    const peers = ranges.map((range) => parseRange(range) ?? expect.unreachable(range))
    const proxy = { header: 'x-forwarded-for', hops: 1, peers }
    return clientAddress({ connection, header: '203.0.113.9', proxy })
  }
  const forwarded = '203.0.113.9'

  test.each([
    ['192.0.2.7', ['192.0.2.7'], forwarded],
    ['192.0.2.8', ['192.0.2.7'], '192.0.2.8'],
    ['10.255.0.1', ['192.0.2.7', '10.0.0.0/8'], forwarded],
    ['11.0.0.1', ['10.0.0.0/8'], '11.0.0.1'],
    ['::ffff:10.0.0.1', ['10.0.0.0/8'], forwarded],
    ['10.0.0.1', ['::ffff:10.0.0.0/104'], forwarded],
    ['11.0.0.1', ['::ffff:10.0.0.0/104'], '11.0.0.1'],
    ['::ffff:192.0.2.7', ['::ffff:192.0.2.7'], forwarded],
    ['2001:db8::1', ['2001:db8::/32'], forwarded],
    ['2001:db9::1', ['2001:db8::/32'], '2001:db9::1'],
    ['fe80::1%eth0', ['fe80::/10'], forwarded],
    ['192.0.2.7', ['0.0.0.0/0'], forwarded],
    ['2001:db8::1', ['0.0.0.0/0'], '2001:db8::1'],
    ['10.9.9.9', ['10.1.2.3/8'], forwarded],
  ])('peer %s, trusted %j: the client is %s', (connection, ranges, expected) => {
    expect(read(connection, ranges)).toBe(expected)
  })

  test('it is used if the runtime knows no peer', () => {
    expect(read(undefined, ['10.0.0.0/8'])).toBe(forwarded)
  })

  test.each([...'127.0.0.1|::1|10.1.1.1|172.31.0.1|192.168.1.1|fd00::1|169.254.1.1|fe80::1'.split('|')])(
    '%s is a private address',
    (address) => {
      expect(isNear(address)).toBe(true)
      expect(isNear(`::ffff:${address}`)).toBe(address.includes('.'))
    },
  )
  test.each(['172.32.0.1', '192.0.2.1', '2001:db8::1', '100.64.0.1', '8.8.8.8', 'fec0::1'])(
    '%s is not a private address',
    (address) => {
      expect(isNear(address)).toBe(false)
    },
  )
  function isNear(text: string) {
    const address = parseAddress(text)
    return address !== undefined && isWithin(address, nearbyRanges)
  }

  test.each([
    ...'|proxy|10.0.0.0/33|10.0.0.0/|10/8|::1/129|::ffff:10.0.0.0/95|10.0.0.1:80|[::1]'.split('|'),
    ...'10.0.0.0/-1|1.2.3.4/8/8|fe80::1%eth0'.split('|'),
  ])('%j is not a range', (text) => {
    expect(parseRange(text)).toBeUndefined()
  })
})
