/** Limits and cached answers as the app uses them, over a store that is shared or over this process's memory. */

import type { Logger } from '../../core/log.ts'
import type { Deps } from '../../http/deps.ts'
import { createCache, noCache, type SharedCacheState } from '../../store/cache.ts'
import { type CountingLimiter, createLimiter, withFallback } from '../../store/limiter.ts'
import { createGuard, type Guard, type Store } from '../../store/store.ts'
import { memoryCounters } from './memory-counters.ts'
import { memoryTexts } from './memory-entries.ts'

type OverStore = Pick<Deps, 'limiter' | 'cache' | 'isStoreThere'> & {
  /** Only of answers in this process's own memory: drops them all. */
  clearCache?: () => void
}

/** What a process knows of its store from one request to the next, also where the client is each request's own. */
export type StoreState = { guard: Guard; memory: CountingLimiter; cache: SharedCacheState }

export function createStoreState(log: Logger): StoreState {
  return {
    guard: createGuard({ log }),
    memory: createLimiter({ counters: memoryCounters() }),
    cache: { owed: new Map() },
  }
}

type Options = { state: StoreState; cached: boolean }

export function overShared(store: Store, { state, cached }: Options): OverStore {
  const { guard, memory } = state
  const primary = createLimiter({ counters: store.counters })
  return {
    limiter: withFallback({ primary, memory, guard }),
    cache: cached ? createCache({ texts: store.texts, guard, state: state.cache }) : noCache,
    isStoreThere: () =>
      guard
        .ask(() => store.ping())
        .then(
          () => true,
          () => false,
        ),
  }
}

/** @param cached only where no other process writes to the database: it could not tell this one */
export function overMemory(memory: CountingLimiter, cached: boolean): OverStore {
  const guard: Guard = { ask: (question) => question(), isLost: () => false }
  const texts = memoryTexts()
  return {
    limiter: memory,
    cache: cached ? createCache({ texts, guard }) : noCache,
    isStoreThere: async () => true,
    clearCache: texts.clear,
  }
}
