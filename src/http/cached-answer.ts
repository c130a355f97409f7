/** Answers out of the cache, and what they say of it. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { type Content, fits, type Lookup } from '../store/cache.ts'
import type { AppEnv } from './deps.ts'

/**
 * For requests whose answers may be cached; runs before the rate limit, which looks for one while it counts. What is looked
 * for is the path with the query as sent, in whatever order: what it means is the handler's to find out.
 */
export const mayBeCached = createMiddleware<AppEnv>(async function mayBeCached(c, next) {
  const { cache } = c.get('deps')
  // A query may have question marks of its own.
  const [, query = ''] = /\?(.*)$/s.exec(c.req.url) ?? []
  const representation = `${c.req.path.replace(/\/$/, '')}?${query.split('&').sort().join('&')}`
  c.set('lookUp', (caller) => cache.lookUp(caller, representation))
  return next()
})

/** What is kept for the caller, or else what `make` makes, which is kept then without the answer waiting for it. */
export async function cachedOr(c: Context<AppEnv>, make: () => Promise<Content>): Promise<Content> {
  const lookup = await c.get('lookup')
  if (lookup.found) {
    c.header('Cache-Status', cacheStatus(lookup))
    return lookup.found
  }
  const content = await make()
  const { cache, background } = c.get('deps')
  const kept = lookup.slot !== undefined && fits(content)
  if (kept) background(cache.store(lookup, content))
  c.header('Cache-Status', cacheStatus(lookup, kept))
  return content
}

/** RFC 9211. The cache is the service's own; what a client or a proxy may keep, Cache-Control says. */
function cacheStatus({ outcome, found }: Lookup, kept = false): string {
  if (found) return `task-api; hit; ttl=${Math.floor(found.ttlMs / 1000)}`
  return `task-api; fwd=${outcome}${kept ? '; stored' : ''}`
}
