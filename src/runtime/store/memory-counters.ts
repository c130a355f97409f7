/** Rate-limit counters in this process, on a map. */
import { type Counters, hasRoom } from '../../store/store.ts'
import { expiringMap } from './expiring-map.ts'

/** Holds at most `maxKeys` buckets; an evicted bucket counts as never counted. */
export function memoryCounters({ maxKeys = 100_000 } = {}): Counters & { size(): number } {
  const buckets = expiringMap<{ count: number }>({ maxSize: maxKeys })
  const countOf = (key: string) => buckets.get(key)?.count ?? 0

  return {
    async take(window) {
      const { key, previousKey, windowMs } = window
      const bucket = buckets.get(key)
      const counts = { allowed: true, current: bucket?.count ?? 0, previous: countOf(previousKey) }
      counts.allowed = hasRoom(window, counts)
      if (!counts.allowed) return counts
      counts.current++
      // As in Redis, a bucket that was refunded to zero gets a new lifetime.
      if (bucket && bucket.count > 0) bucket.count = counts.current
      else buckets.set(key, { count: 1 }, windowMs * 2 + 1000)
      return counts
    },
    counts: async ({ key, previousKey }) => ({ current: countOf(key), previous: countOf(previousKey) }),
    decrement: async (key) => {
      const bucket = buckets.get(key)
      if (bucket && bucket.count > 0) bucket.count--
    },
    size: buckets.size,
  }
}
