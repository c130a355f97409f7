/** Rate-limit counters in this process: the limiter's scripts, done on a Map. */
import type { Counters } from '../../store/store.ts'
import { limitScript, remainingScript } from './limiter-scripts.ts'

type Bucket = { count: number; expiresAt: number }

/**
 * Holds at most `maxKeys` buckets: a new one beyond that evicts the oldest, which is then as if never counted. Expired
 * buckets go as new ones come, without a timer. `now` is the clock of expiry only; decisions use the time in the call.
 * Any script but the limiter's two is refused.
 */
export function memoryCounters({ now = () => Date.now(), maxKeys = 100_000 } = {}): Counters & {
  size(): number
} {
  const buckets = new Map<string, Bucket>()
  // A Map's iterators are live and pass deleted entries once: starting afresh at each eviction would pass them every time.
  let oldest = buckets.keys()
  let sweep = buckets.entries()

  function find(key: string, at: number): Bucket | undefined {
    const bucket = buckets.get(key)
    return bucket && bucket.expiresAt > at ? bucket : undefined
  }

  const countOf = (key: string | undefined, at: number) =>
    key === undefined ? 0 : (find(key, at)?.count ?? 0)

  function evictOldest(): void {
    let next = oldest.next()
    if (next.done) {
      oldest = buckets.keys()
      next = oldest.next()
    }
    if (!next.done) buckets.delete(next.value)
  }

  /** Looks at two buckets for each new one: the sweep gets round before as many have come as there are. */
  function dropSomeExpired(at: number): void {
    for (let looked = 0; looked < 2; looked++) {
      const next = sweep.next()
      if (next.done) {
        sweep = buckets.entries()
        return
      }
      const [key, bucket] = next.value
      if (bucket.expiresAt <= at) buckets.delete(key)
    }
  }

  function add(key: string, amount: number, ttlMs: number, at: number): number {
    const found = find(key, at)
    if (found) {
      found.count += amount
      // As the script does: a count that is back at its first value lives its whole life again.
      if (found.count === amount) found.expiresAt = at + ttlMs
      return found.count
    }
    dropSomeExpired(at)
    if (buckets.size >= maxKeys) evictOldest()
    buckets.set(key, { count: amount, expiresAt: at + ttlMs })
    return amount
  }

  function run(sha: string, keys: string[], args: (string | number)[]): [number, number] {
    if (sha !== limitScript.published && sha !== remainingScript.published)
      throw new Error(`memory counters know no script ${sha}`)
    const [currentKey, previousKey] = keys
    const [limit, time, windowMs, amount] = args.map(Number)
    if (!currentKey || !limit || time === undefined || !windowMs)
      throw new Error('arguments of another script')
    const at = now()
    const current = countOf(currentKey, at)
    const previous = Math.floor((1 - (time % windowMs) / windowMs) * countOf(previousKey, at))
    if (sha === remainingScript.published) return [limit - (current + previous), limit]
    if (!amount || amount < 0) throw new Error('refunds go through decrement, to the bucket that was counted')
    if (previous + current >= limit) return [-1, limit]
    return [limit - (add(currentKey, amount, windowMs * 2 + 1000, at) + previous), limit]
  }

  return {
    evalsha: async (sha, keys, args) => run(sha, keys, args),
    eval: async () => {
      throw new Error('memory counters know their scripts by hash')
    },
    mget: async (keys) => {
      const at = now()
      return keys.map((key) => find(key, at)?.count ?? null)
    },
    decrement: async (key) => {
      const bucket = find(key, now())
      if (bucket && bucket.count > 0) bucket.count--
    },
    size: () => buckets.size,
  }
}
