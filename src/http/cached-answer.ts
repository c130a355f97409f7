/** Answers from the cache, and the header that says so. */
import type { Content, Lookup } from '../store/cache.ts'
import { fits } from '../store/cache.ts'
import type { Answer } from './answer.ts'
import type { Exchange } from './deps.ts'

/** Starts the look-up without waiting for it. Its key is the path with the query as sent, in any order. */
export function startLookup(exchange: Exchange) {
  const { c, deps, session } = exchange
  if (!session) return
  // A query may contain question marks.
  const [, query = ''] = /\?(.*)$/s.exec(c.req.url) ?? []
  const representation = `${c.req.path.replace(/\/$/, '')}?${query.split('&').sort().join('&')}`
  exchange.lookup = deps.cache.lookUp(session.caller, representation)
}
/** The cached answer, or what `make` returns, which is then stored in the background. */
export async function cachedOr(exchange: Exchange, make: () => Promise<Answer>): Promise<Answer> {
  const { deps, headers } = exchange
  const lookup: Lookup = (await exchange.lookup) ?? { outcome: 'bypass' }
  if (lookup.found) {
    const { head, body, ttlMs } = lookup.found
    headers['Cache-Status'] = `task-api; hit; ttl=${Math.floor(ttlMs / 1000)}`
    return { status: 200, headers: JSON.parse(head), body }
  }
  const answer = await make()
  let isStored = false
  if (lookup.slot && answer.status === 200) {
    const content: Content = { head: JSON.stringify(answer.headers ?? {}), body: answer.body ?? '' }
    isStored = fits(content)
    if (isStored) deps.background(deps.cache.store(lookup, content))
  }
  // RFC 9211, about the service's own cache. Cache-Control is for clients and proxies.
  headers['Cache-Status'] = `task-api; fwd=${lookup.outcome}${isStored ? '; stored' : ''}`
  return answer
}
