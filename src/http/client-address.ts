/** Which address a request counts for, when some of what it says may be made up. */
import ipaddr from 'ipaddr.js'

type Connection = {
  /** The address at the other end of the connection, where the runtime knows it. */
  connection: string | undefined
  /** The value of the one trusted header; undefined when none is configured or none was sent. */
  header: string | undefined
  /** Which entry of an `X-Forwarded-For` counts, from the right, 1 being the last; null for a header of one address. */
  forwardedForHops: number | null
}

/**
 * The client's address in canonical text, without port or zone; `unknown` when not even the connection has one.
 * Entries are counted from the right, as proxies append: what a client writes itself ends up on the left, unread. A list
 * that is too short, or an entry that is no address, is not from the proxy that was trusted: the connection's counts.
 */
export function clientAddress({ connection, header, forwardedForHops }: Connection): string {
  const entries = header === undefined ? [] : forwardedForHops === null ? [header] : header.split(',')
  const named = parse(entries.at(-(forwardedForHops ?? 1)))
  return (named ?? parse(connection))?.toString() ?? 'unknown'
}

/**
 * What limits count an address as: IPv6 by its /64, which is what one customer is given at least, and IPv4-mapped
 * IPv6 as IPv4. Anything that is no address is `unknown`, all counted together.
 */
export function limitAddress(address: string): string {
  const parsed = parse(address)
  if (parsed === undefined) return 'unknown'
  if (parsed instanceof ipaddr.IPv4) return parsed.toString()
  return `${new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0])}/64`
}

/** `1.2.3.4`, `1.2.3.4:56`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:56`, with or without a zone id. */
function parse(text: string | undefined): ipaddr.IPv4 | ipaddr.IPv6 | undefined {
  const trimmed = text?.trim() ?? ''
  const [, v4, bracketed] = /^(?:([\d.]+)|\[([^\]]+)\])(?::\d{1,5})?$/.exec(trimmed) ?? []
  // The library also reads `1`, `0x7f.1` and `010.0.0.1`, which no proxy writes.
  if (v4 !== undefined) return ipaddr.IPv4.isValidFourPartDecimal(v4) ? ipaddr.IPv4.parse(v4) : undefined
  const v6 = (bracketed ?? trimmed).replace(/%[\w.-]+$/, '')
  // `process` makes IPv4-mapped addresses IPv4.
  return ipaddr.IPv6.isValid(v6) ? ipaddr.process(v6) : undefined
}
