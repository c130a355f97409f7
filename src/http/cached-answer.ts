/** Answers from the cache, and the header that says so. */
import type { Content, Question } from '../store/cache.ts'
import { fits } from '../store/cache.ts'
import type { Answer } from './answer.ts'
import type { Exchange } from './deps.ts'

/** Names the caller's cached answer: its key is the path with the query as sent, in any order. */
export async function questionOf({ c, deps, session }: Exchange): Promise<Question | undefined> {
  if (!session) return undefined
  const { path, url } = c.req
  const route = path.endsWith('/') ? path.slice(0, -1) : path
  // A query may contain question marks.
  const query = url.indexOf('?') === -1 ? '' : url.slice(url.indexOf('?') + 1)
  const inOrder = query.includes('&') ? query.split('&').sort().join('&') : query
  return deps.cache.ask(session.caller, `${route}?${inOrder}`)
}

/** The cached answer, or what `make` returns, which is then stored in the background. */
export async function cachedOr(exchange: Exchange, make: () => Promise<Answer>): Promise<Answer> {
  const { deps, headers, lookup = { outcome: 'bypass' } } = exchange
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
