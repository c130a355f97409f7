/**
 * Answers kept for a while, each for one user. A user's stamp is a random value; an answer is kept with the stamp that was
 * read before its statement ran, and is good while that is the stamp still. Whatever changes what a user may see gives the
 * user a new stamp before it is answered, so that a client always reads its own writes.
 */
import type { Caller } from '../auth/caller.ts'
import { type Guard, StoreLostError, type Texts, within } from './store.ts'

/** `head` is the feature's own, on one line; `body` the answer's. */
export type Content = { head: string; body: string }

/** As RFC 9211 names them: `bypass` while the store is away, or where nothing is cached at all. */
export type Outcome = 'hit' | 'uri-miss' | 'stale' | 'bypass'

export type Lookup = {
  outcome: Outcome
  /** What was found, and for how many ms it may still be used; only of a hit. */
  found?: Content & { ttlMs: number }
  /** Where to keep the answer that is made now; not of a hit and not of a bypass. */
  slot?: { key: string; stamp: string; at: number }
}

export type Cache = {
  /**
   * Looks for what the caller got for `representation`, such as a path with its query, in one round trip. The session is part
   * of the key: what one session was given, another never gets, so that a stamp that is renewed when a session ends
   * leaves nothing that its tokens could read. Never rejects.
   */
  lookUp(caller: Caller, representation: string): Promise<Lookup>
  /** Keeps an answer that fits and was made after the look-up. Does nothing without a slot. Never rejects. */
  store(lookup: Lookup, content: Content): Promise<void>
  /**
   * To be called once what these users may see has been changed, or a session of theirs has ended, and before that is answered; and
   * when it turns out that an earlier attempt had done so, which may not have come as far as this. In one round trip. Never
   * rejects: what cannot be told now is owed, and told before the store is next asked for an answer.
   */
  invalidate(userIds: Iterable<number | null | undefined>): Promise<void>
}

/** Entries live so long from the moment they were looked for, which bounds what any failure can do. */
export const entryTtlMs = 30_000
/** Stamps outlive entries. */
const stampTtlMs = 10 * 60_000
/** A renewal that is owed for longer concerns no entry any more: the slowest statement and an entry's life are over. */
const owedMs = 2 * entryTtlMs
/** What a write waits at most for a store that is believed lost. */
const hurriedMs = 300
/** In UTF-16 units; a page of the default length has some 6,500. */
const longestBody = 32 * 1024
const longestRepresentation = 1000
/** Programs of different versions side by side renew each other's stamps, and never find answers of another form. */
const stampForm = 1
const answerForm = 3

export type SharedCacheState = {
  /** Users whose stamps could not be renewed, and until when (ms since the epoch) that matters. */
  owed: Map<number, number>
}

export function createCache({
  texts,
  guard,
  state = { owed: new Map() },
  now = Date.now,
}: {
  texts: Texts
  guard: Guard
  /** Of the process, where caches are made for each request. */
  state?: SharedCacheState
  now?: () => number
}): Cache {
  const { owed } = state

  function stampOf(userId: number) {
    // A hash tag, the one that the user's limits have too: a Redis cluster looks up keys of one slot at once.
    return { key: `cache:{${userId}}:${stampForm}`, value: crypto.randomUUID(), ttlMs: stampTtlMs }
  }

  function debts() {
    for (const [userId, until] of owed) if (until <= now()) owed.delete(userId)
    return [...owed]
  }

  /** One that was owed anew meanwhile is owed still. */
  function paid(debts: [number, number][]) {
    for (const [userId, until] of debts) if (owed.get(userId) === until) owed.delete(userId)
  }

  /** @throws what the guard does */
  async function put(userIds: number[]) {
    const paying = debts()
    const everybody = new Set([...userIds, ...paying.map(([userId]) => userId)])
    await guard.ask(() => texts.put([...everybody].map(stampOf)))
    paid(paying)
  }

  /** For a store that is believed lost: it may be back, and others serve from it what these users must not see any more. */
  async function putAllTheSame(userIds: number[]) {
    await within(hurriedMs, texts.put(userIds.map(stampOf)))
  }

  return {
    async lookUp({ userId, sessionId }, representation) {
      if (representation.length > longestRepresentation) return { outcome: 'bypass' }
      const settled =
        owed.size === 0 ||
        (await put([]).then(
          () => owed.size === 0,
          () => false,
        ))
      if (!settled) return { outcome: 'bypass' }
      const at = now()
      const stamp = stampOf(userId)
      const key = `${stamp.key}:${answerForm}:${sessionId}:${representation}`
      const looked = await guard.ask(() => texts.look(stamp, key)).catch(() => null)
      if (!looked) return { outcome: 'bypass' }
      const kept = looked.text === null ? null : parse(looked.text)
      const ttlMs = kept ? kept.at + entryTtlMs - at : 0
      if (kept?.stamp === looked.stamp && ttlMs > 0) return { outcome: 'hit', found: { ...kept, ttlMs } }
      return { outcome: kept ? 'stale' : 'uri-miss', slot: { key, stamp: looked.stamp, at } }
    },

    async store({ slot }, { head, body }) {
      if (!slot) return
      const { key, stamp, at } = slot
      const ttlMs = at + entryTtlMs - now()
      if (ttlMs <= 0) return
      const value = `${stamp} ${at} ${head}\n${body}`
      await guard.ask(() => texts.put([{ key, value, ttlMs }])).catch(() => {})
    },

    async invalidate(userIds) {
      const concerned = [...new Set(userIds)].filter((id) => typeof id === 'number')
      if (concerned.length === 0) return
      try {
        await put(concerned).catch((error: unknown) => {
          if (!(error instanceof StoreLostError)) throw error
          return putAllTheSame(concerned)
        })
      } catch {
        for (const userId of concerned) owed.set(userId, now() + owedMs)
      }
    },
  }
}

/** A longer answer is made anew each time. */
export const fits = ({ body }: Content) => body.length <= longestBody

function parse(text: string) {
  const end = text.indexOf('\n')
  const [stamp = '', at = '', ...head] = text.slice(0, end).split(' ')
  return { stamp, at: Number(at), head: head.join(' '), body: text.slice(end + 1) }
}

/** Where nothing is cached: several processes without a store that they share, or CACHE=off. */
export const noCache: Cache = {
  lookUp: async () => ({ outcome: 'bypass' }),
  store: async () => {},
  invalidate: async () => {},
}
