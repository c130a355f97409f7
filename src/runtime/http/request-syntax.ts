/** The rules of RFC 9112 that node:http does not check: target, Host and transfer coding. */
import type { IncomingMessage } from 'node:http'
import { isIPv6 } from 'node:net'
import { otherCoding, type Refusal } from './malformed-request.ts'

/** The app ignores the Host: a request means the same under every name. */
const anyHost = 'localhost'

/** Returns a refusal, or sets `url` to the path with its query, or to the asterisk of `OPTIONS *`. */
export function normalizeRequest(incoming: IncomingMessage): Refusal | undefined {
  return refuseHost(incoming) ?? refuseCoding(incoming) ?? normalizeTarget(incoming)
}

function normalizeTarget(incoming: IncomingMessage): Refusal | undefined {
  incoming.headers.host = anyHost
  const { url = '', method } = incoming
  if (url.startsWith('/')) return refusePath(url)
  if (url === '*' && method === 'OPTIONS') return undefined
  const [, authority, rest = ''] = /^https?:\/\/([^/?#]*)(.*)$/is.exec(url) ?? []
  if (!authority || !isHost(authority))
    return { status: 400, detail: 'The target of a request is a path that begins with a slash.' }
  incoming.url = rest.startsWith('/') ? rest : `/${rest}`
  return refusePath(rest)
}

/** RFC 9112 section 6.1. node:http accepts only lists that end in chunked. */
function refuseCoding({ headers }: IncomingMessage): Refusal | undefined {
  const codings = headers['transfer-encoding']?.split(',').map((coding) => coding.trim().toLowerCase()) ?? []
  if (!codings.every((coding) => isToken.test(coding))) return { status: 400 }
  if (codings.some((coding) => coding !== 'chunked')) return otherCoding
  return codings.length > 1 ? { status: 400, detail: 'A body is sent in chunks once, not twice.' } : undefined
}

const isToken = /^[\w!#$%&'*+.^`|~-]+$/

function refusePath(path: string): Refusal | undefined {
  if (path.includes('#')) return { status: 400, detail: 'A # in the request line must be written %23.' }
  return undefined
}

/** A missing Host (except in HTTP/1.0), several, and an invalid one are a 400. */
function refuseHost({ rawHeaders, httpVersion }: IncomingMessage): Refusal | undefined {
  let host: string | undefined
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (!isHostName(rawHeaders[index])) continue
    if (host !== undefined) return { status: 400, detail: 'A request has one Host header, not several.' }
    host = rawHeaders[index + 1]
  }
  if (host === undefined)
    return httpVersion === '1.0' ? undefined : { status: 400, detail: 'A request needs a Host header.' }
  return isHost(host) ? undefined : { status: 400, detail: 'The Host header names no host.' }
}

const isHostName = (name = '') => name.length === 4 && name.toLowerCase() === 'host'

/** A name, an address or nothing, with or without a port. RFC 9110 section 4.2.4: a user name is an error. */
function isHost(text: string): boolean {
  const match = /^(?:\[([^\]%]*)\]|[\w.~!$&'()*+,;=-]*)(?::(\d*))?$/.exec(text)
  if (!match) return false
  const [, address, port = ''] = match
  return (address === undefined || isIPv6(address)) && Number(port) <= 65_535
}
