/** Rate-limit counters in this process: the two scripts of the limiter, on a map. */
import type { Counters } from '../../store/store.ts'
import { expiringMap } from './expiring-map.ts'
import { limitScript, remainingScript } from './limiter-scripts.ts'

/** Holds at most `maxKeys` buckets; an evicted bucket counts as never counted. Rejects any other script. */
export function memoryCounters({ maxKeys = 100_000 } = {}): Counters & { size(): number } {
  const buckets = expiringMap<{ count: number }>({ maxSize: maxKeys })
  const countOf = (key: string | undefined) => (key === undefined ? 0 : (buckets.get(key)?.count ?? 0))

  function add(key: string, amount: number, ttlMs: number): number {
    const bucket = buckets.get(key)
    if (bucket && bucket.count > 0) {
      bucket.count += amount
      return bucket.count
    }
    // As in the script, a bucket that was refunded to zero gets a new lifetime.
    buckets.set(key, { count: amount }, ttlMs)
    return amount
  }

  function run(sha: string, keys: string[], args: (string | number)[]): [number, number] {
    if (sha !== limitScript.published && sha !== remainingScript.published)
      throw new Error(`memory counters know no script ${sha}`)
    const [currentKey, previousKey] = keys
    const [limit, time, windowMs, amount] = args.map(Number)
    if (!currentKey || !limit || time === undefined || !windowMs)
      throw new Error('arguments of another script')
    const current = countOf(currentKey)
    const previous = Math.floor((1 - (time % windowMs) / windowMs) * countOf(previousKey))
    if (sha === remainingScript.published) return [limit - (current + previous), limit]
    if (!amount || amount < 0) throw new Error('a refund has to call decrement')
    if (previous + current >= limit) return [-1, limit]
    return [limit - (add(currentKey, amount, windowMs * 2 + 1000) + previous), limit]
  }

  return {
    evalsha: async (sha, keys, args) => run(sha, keys, args),
    eval: async () => {
      throw new Error('memory counters know their scripts by hash')
    },
    mget: async (keys) => keys.map((key) => buckets.get(key)?.count ?? null),
    decrement: async (key) => {
      const bucket = buckets.get(key)
      if (bucket && bucket.count > 0) bucket.count--
    },
    size: buckets.size,
  }
}
