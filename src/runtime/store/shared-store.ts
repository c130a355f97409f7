/** Limits and cached answers as the app uses them, over a shared store or over this process's memory. */

import type { Logger } from '../../core/log.ts'
import type { Deps } from '../../http/deps.ts'
import { createCache, noCache, type SharedCacheState } from '../../store/cache.ts'
import { type CountingLimiter, createLimiter, readingBeside, withFallback } from '../../store/limiter.ts'
import { createGuard, type Guard, type Store } from '../../store/store.ts'
import { timerEach } from '../../store/time-limit.ts'
import { memoryCounters } from './memory-counters.ts'
import { memoryEntries } from './memory-entries.ts'

type OverStore = Pick<Deps, 'limiter' | 'cache' | 'isStoreThere'> & {
  /** Only for answers in this process's own memory: drops them all. */
  clearCache?: () => void
}

/** State of a process that outlives a request, also where each request has a client of its own. */
export type StoreState = { guard: Guard; memory: CountingLimiter; cache: SharedCacheState }

export function createStoreState(log: Logger, limitTime = timerEach): StoreState {
  return {
    guard: createGuard({ log, limitTime }),
    memory: createLimiter({ counters: memoryCounters() }),
    cache: { pendingInvalidations: new Map() },
  }
}

type Options = { state: StoreState; cached: boolean }

export function overShared(store: Store, { state, cached }: Options): OverStore {
  const { guard, memory } = state
  return {
    limiter: withFallback({ primary: store.limiter, memory, guard }),
    cache: cached ? createCache({ entries: store.entries, guard, state: state.cache }) : noCache,
    isStoreThere: async () => {
      const answer = await guard.ask(() => store.ping()).catch(() => 'away')
      return answer !== 'away'
    },
  }
}

/** @param cached only if no other process writes to the database: it could not invalidate entries here */
export function overMemory(memory: CountingLimiter, cached: boolean): OverStore {
  const guard: Guard = { ask: (question) => question() }
  const entries = memoryEntries()
  return {
    limiter: readingBeside(memory, entries),
    cache: cached ? createCache({ entries, guard }) : noCache,
    isStoreThere: async () => true,
    clearCache: entries.clear,
  }
}
