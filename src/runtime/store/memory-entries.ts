/** Cached answers in this process's memory. */
import type { CacheStore, Entry } from '../../store/store.ts'
import { expiringMap } from './expiring-map.ts'

/** `maxSize` is in UTF-16 units. */
type Options = { maxSize?: number; now?: () => number }

export function memoryEntries({ maxSize = 16 * 1024 * 1024, now }: Options = {}) {
  const entries = expiringMap<string>({ maxSize, now, sizeOf: (key, value) => key.length + value.length })
  const set = ({ key, value, ttlMs }: Entry) => entries.set(key, value, ttlMs)
  const store: CacheStore = {
    async read({ fresh, key }) {
      const version = entries.get(fresh.key)
      if (version === undefined) set(fresh)
      return { version: version ?? fresh.value, text: entries.get(key) ?? null }
    },
    set: async (given) => given.forEach(set),
  }
  return { ...store, size: entries.size, clear: entries.clear }
}
