/** IP addresses and ranges, as settings, sockets and headers write them. */
import ipaddr from 'ipaddr.js'

export type Address = ipaddr.IPv4 | ipaddr.IPv6
export type AddressRange = { base: Address; prefixLength: number }

/** Reads an address with or without brackets, port and zone id. IPv4-mapped IPv6 becomes IPv4. */
export function parseAddress(text: string | undefined): Address | undefined {
  const trimmed = text?.trim() ?? ''
  const [, v4, bracketed] = /^(?:([\d.]+)|\[([^\]]+)\])(?::\d{1,5})?$/.exec(trimmed) ?? []
  // The library also reads `1`, `0x7f.1` and `010.0.0.1`, which no proxy writes.
  if (v4 !== undefined) return ipaddr.IPv4.isValidFourPartDecimal(v4) ? ipaddr.IPv4.parse(v4) : undefined
  const v6 = (bracketed ?? trimmed).replace(/%[\w.-]+$/, '')
  return ipaddr.IPv6.isValid(v6) ? ipaddr.process(v6) : undefined
}

/** Reads one address, or a range in CIDR notation (`10.0.0.0/8`, `2001:db8::/32`, `::ffff:10.0.0.0/104`). */
export function parseRange(text: string): AddressRange | undefined {
  const [, address, length] = /^([^/[\]%]+?)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const base = address?.includes('.') && /:\d+$/.test(address) ? undefined : parseAddress(address)
  if (!base || address === undefined) return undefined
  const longest = base.kind() === 'ipv4' ? 32 : 128
  // The prefix of an IPv4-mapped range counts the 96 bits before the IPv4 address.
  const before = base.kind() === 'ipv4' && address.includes(':') ? 96 : 0
  const prefixLength = length === undefined ? longest : Number(length) - before
  return prefixLength >= 0 && prefixLength <= longest ? { base, prefixLength } : undefined
}

export const isWithin = (address: Address, ranges: AddressRange[]): boolean =>
  ranges.some(({ base, prefixLength }) => base.kind() === address.kind() && address.match(base, prefixLength))

/** Loopback and private ranges: RFC 1122, 1918, 3927 and 4291, 4193. */
export const nearbyRanges: AddressRange[] = [
  '127.0.0.0/8',
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '169.254.0.0/16',
  '::1',
  'fc00::/7',
  'fe80::/10',
].flatMap((range) => parseRange(range) ?? [])

/**
 * Returns the key by which limits count an address: IPv6 by its /64, the least that a customer is given,
 * IPv4-mapped IPv6 as IPv4. All texts that are no address share the key `unknown`.
 */
export function limitAddress(address: string): string {
  const parsed = parseAddress(address)
  if (parsed === undefined) return 'unknown'
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  return `${new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0])}/64`
}
