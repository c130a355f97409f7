/**
 * A bounded map whose entries expire. It has no timer: each `set` drops the expired ones among the next two
 * entries, which passes through all of them before as many new ones have come.
 */
export function expiringMap<V>({
  maxSize,
  now = () => Date.now(),
  sizeOf = () => 1,
}: {
  /** Beyond it the entries that were set first are evicted. */
  maxSize: number
  now?: (() => number) | undefined
  sizeOf?: (key: string, value: V) => number
}) {
  const entries = new Map<string, { value: V; expiresAt: number }>()
  // Iterators of a Map are live. A new one at each eviction would step over the deleted entries every time.
  let oldest = entries.keys()
  let sweep = entries.entries()
  let size = 0

  function remove(key: string) {
    const entry = entries.get(key)
    if (!entry) return
    entries.delete(key)
    size -= sizeOf(key, entry.value)
  }

  function dropSomeExpired() {
    for (let looked = 0; looked < 2; looked++) {
      const next = sweep.next()
      if (next.done) {
        sweep = entries.entries()
        return
      }
      const [key, { expiresAt }] = next.value
      if (expiresAt <= now()) remove(key)
    }
  }

  function evictOldest() {
    let next = oldest.next()
    if (next.done) {
      oldest = entries.keys()
      next = oldest.next()
    }
    if (!next.done) remove(next.value)
  }

  return {
    get(key: string): V | undefined {
      const entry = entries.get(key)
      if (entry && entry.expiresAt > now()) return entry.value
      remove(key)
      return undefined
    },
    set(key: string, value: V, ttlMs: number) {
      dropSomeExpired()
      remove(key)
      entries.set(key, { value, expiresAt: now() + ttlMs })
      size += sizeOf(key, value)
      while (size > maxSize) evictOldest()
    },
    clear() {
      entries.clear()
      size = 0
    },
    size: () => size,
  }
}
