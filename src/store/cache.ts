/**
 * Cached answers, each for one user. A user has a cache version, a random value. An entry stores the version
 * that was read before its statement ran, and is valid while the user has that version. A write gives a new
 * version to every user who can see its effect before it is answered, so that clients read their own writes.
 */
import type { Caller } from '../auth/caller.ts'
import { withTimeout } from '../core/timeout.ts'
import { type CacheStore, type Guard, type Kept, type Reading, StoreLostError } from './store.ts'

/** `head` belongs to the feature and has one line; `body` is the answer's. */
export type Content = { head: string; body: string }

/** The names of RFC 9211; `bypass` while the store is away, or where nothing is cached. */
export type Outcome = 'hit' | 'uri-miss' | 'stale' | 'bypass'

export type Lookup = {
  outcome: Outcome
  /** The entry of a hit, with the ms for which it may still be used. */
  found?: Content & { ttlMs: number }
  /** Where to store a new answer, after a miss or a stale entry. */
  slot?: { key: string; version: string; at: number }
}

/** A reading, and when it was begun: ms since the epoch. */
export type Question = Reading & { at: number }

export type Cache = {
  /**
   * Names the caller's answer for `representation`, such as a path with its query. The limiter
   * reads it along with its count. Undefined where nothing is to be read. Keys include the session, and the
   * end of a session changes the version, so that its tokens read nothing afterwards. Never rejects.
   */
  ask(caller: Caller, representation: string): Promise<Question | undefined>
  /** Interprets the result of the reading. */
  lookUp(question: Question | undefined, kept: Kept | undefined): Lookup
  /** Stores an answer that `fits` and was made after the look-up, given a slot. Never rejects. */
  store(lookup: Lookup, content: Content): Promise<void>
  /**
   * Call it after the commit and before responding, for every user whose view has changed or whose session
   * has ended, also when a retry changes nothing: the first attempt may have died before it invalidated. One
   * round trip. Never rejects: a failed invalidation stays pending, and is sent before this process reads the
   * cache again.
   */
  invalidate(userIds: Iterable<number | null | undefined>): Promise<void>
}

/** Counts from the look-up. It bounds the effect of every failure. */
export const entryTtlMs = 30_000
const versionTtlMs = 10 * 60_000
/** By then the slowest statement and the life of its entry are over. */
const pendingMs = 2 * entryTtlMs
/** The wait of a write for a store that counts as lost. */
const downStoreTimeoutMs = 300
/** In UTF-16 units; a page of the default length has some 6,500. */
const longestBody = 32 * 1024
const longestRepresentation = 1000
/** Programs of different releases share the versions, but read no answers of another format. */
const versionFormat = 1
const answerFormat = 3

export type SharedCacheState = {
  /** Users whose versions could not be changed, and until when (ms since the epoch) that matters. */
  pendingInvalidations: Map<number, number>
}

export function createCache({
  entries,
  guard,
  state = { pendingInvalidations: new Map() },
  now = Date.now,
}: {
  entries: CacheStore
  guard: Guard
  /** Shared by the caches of a process that makes one for each request. */
  state?: SharedCacheState
  now?: () => number
}): Cache {
  const pending = state.pendingInvalidations

  /**
   * A version must differ from each that the user has had while entries with it may live, whichever process
   * made it. It is no secret.
   */
  function newVersion(userId: number) {
    // The hash tag of the user's limits, too: one round trip to a Redis cluster takes keys of one slot.
    return { key: `cache:{${userId}}:${versionFormat}`, value: crypto.randomUUID(), ttlMs: versionTtlMs }
  }

  /** Together with those that are pending. @throws what the guard throws */
  async function changeVersions(userIds: number[]) {
    if (pending.size === 0) return guard.ask(() => entries.set(userIds.map(newVersion)))
    for (const [userId, until] of pending) if (until <= now()) pending.delete(userId)
    const sent = [...pending]
    const all = new Set([...userIds, ...pending.keys()])
    await guard.ask(() => entries.set([...all].map(newVersion)))
    // One that failed again meanwhile has a later time and stays pending.
    for (const [userId, until] of sent) if (pending.get(userId) === until) pending.delete(userId)
  }

  async function hasSentPending(): Promise<boolean> {
    if (pending.size > 0) await changeVersions([]).catch(() => {})
    return pending.size === 0
  }

  return {
    async ask({ userId, sessionId }, representation) {
      if (representation.length > longestRepresentation || !(await hasSentPending())) return undefined
      const fresh = newVersion(userId)
      return { fresh, key: `${fresh.key}:${answerFormat}:${sessionId}:${representation}`, at: now() }
    },

    lookUp(question, kept) {
      if (!question || !kept) return bypass
      const { key, at } = question
      const { version, text } = kept
      const entry = text === null ? null : parse(text)
      const ttlMs = entry ? entry.at + entryTtlMs - at : 0
      if (entry?.version === version && ttlMs > 0) return { outcome: 'hit', found: { ...entry, ttlMs } }
      return { outcome: entry ? 'stale' : 'uri-miss', slot: { key, version, at } }
    },

    async store({ slot }, { head, body }) {
      if (!slot) return
      const { key, version, at } = slot
      const ttlMs = at + entryTtlMs - now()
      if (ttlMs <= 0) return
      const value = `${version} ${at} ${head}\n${body}`
      await guard.ask(() => entries.set([{ key, value, ttlMs }])).catch(() => {})
    },

    async invalidate(userIds) {
      const concerned = [...new Set(userIds)].filter((id) => typeof id === 'number')
      if (concerned.length === 0) return
      try {
        await changeVersions(concerned).catch((error: unknown) => {
          if (!(error instanceof StoreLostError)) throw error
          // It may be back, and others may serve from it.
          return withTimeout(downStoreTimeoutMs, entries.set(concerned.map(newVersion)))
        })
      } catch {
        for (const userId of concerned) pending.set(userId, now() + pendingMs)
      }
    },
  }
}

export const fits = ({ body }: Content) => body.length <= longestBody

/** The text is `VERSION AT HEAD`, a line, and the body. */
function parse(text: string) {
  const at = text.indexOf(' ') + 1
  const head = text.indexOf(' ', at) + 1
  const body = text.indexOf('\n', head) + 1
  return {
    version: text.slice(0, at - 1),
    at: Number(text.slice(at, head - 1)),
    head: text.slice(head, body - 1),
    body: text.slice(body),
  }
}

const bypass: Lookup = { outcome: 'bypass' }

/** For several processes without a shared store, and for CACHE=off. */
export const noCache: Cache = {
  ask: async () => undefined,
  lookUp: () => bypass,
  store: async () => {},
  invalidate: async () => {},
}
