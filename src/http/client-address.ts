/** The client's address of a request whose headers may be forged. */
import type { Context } from 'hono'
import { type AddressRange, isWithin, nearbyRanges, parseAddress } from '../core/addresses.ts'
import type { Deps } from './deps.ts'
import { elementsFromRight, forwardedFor } from './forwarded.ts'

type TrustedProxy = {
  /** In lower case. `x-forwarded-for` and `forwarded` are lists; any other header holds one address. */
  header: string
  /** The entry of a list that counts, from the right; 1 is the last. */
  hops: number
  /** The peers whose header counts; undefined for all of them. */
  peers: AddressRange[] | undefined
}

type Connection = {
  /** The address at the other end of the connection, where the runtime knows it. */
  connection: string | undefined
  /** Undefined where no header is trusted. */
  proxy: TrustedProxy | undefined
  /** The value of that header, where one was sent. */
  header: string | undefined
}

/**
 * The client's address in canonical text, without port or zone; `unknown` when not even the connection has
 * one. Entries count from the right, since proxies append: what a client forges stays on the left, unread.
 * The connection's address counts instead where the list is too short, the entry is not an address
 * (`unknown`, a hidden name), or the header comes from a peer that is not a trusted proxy.
 */
export function clientAddress({ connection, proxy, header }: Connection): string {
  const peer = parseAddress(connection)
  const named =
    proxy && header !== undefined && isTrusted(proxy, connection)
      ? parseAddress(entryOf(proxy, header))
      : undefined
  return (named ?? peer)?.toString() ?? 'unknown'
}

/** True where the runtime knows no peer: then only the platform can reach it. */
function isTrusted({ peers }: TrustedProxy, connection: string | undefined): boolean {
  const peer = parseAddress(connection)
  return peers === undefined || peer === undefined || isWithin(peer, peers)
}

function entryOf({ header, hops }: TrustedProxy, value: string): string | undefined {
  if (header === 'forwarded') return forwardedFor(elementsFromRight(value)[hops - 1] ?? '')
  return header === 'x-forwarded-for' ? value.split(',').at(-hops) : value
}

export type AddressReader = ReturnType<typeof addressReader>

/** Warns once when it ignores a header, since all clients then share one address. */
export function addressReader(proxiesAreNear: boolean) {
  let hasWarned = false
  return (
    connection: string | undefined,
    c: Context,
    { config, log }: Pick<Deps, 'config' | 'log'>,
  ): string => {
    if (!config.trustedProxy) return clientAddress({ connection, proxy: undefined, header: undefined })
    const proxy = {
      ...config.trustedProxy,
      peers: config.trustedProxy.peers ?? (proxiesAreNear ? nearbyRanges : undefined),
    }
    const header = c.req.header(proxy.header)
    if (header !== undefined && !hasWarned && !isTrusted(proxy, connection)) {
      hasWarned = true
      log.warn(
        'a proxy header came from an address that TRUSTED_PROXY_ADDRESSES does not name: it does not count',
        {
          header: proxy.header,
          address: connection ?? null,
        },
      )
    }
    return clientAddress({ connection, proxy, header })
  }
}
