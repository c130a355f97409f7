/** Cached answers in this process's memory. */
import type { Texts } from '../../store/store.ts'

/**
 * Keeps at most `maximumSize` UTF-16 units; what was put first goes first. Expired entries go as new ones come, without a
 * timer.
 */
export function memoryTexts({ now = () => Date.now(), maximumSize = 16 * 1024 * 1024 } = {}): Texts & {
  size(): number
  clear(): void
} {
  const entries = new Map<string, { value: string; expiresAt: number }>()
  // A Map's iterators are live: one that goes round sees what has come meanwhile.
  let sweep = entries.entries()
  let size = 0

  const sizeOf = (key: string, value: string) => key.length + value.length

  function remove(key: string) {
    const entry = entries.get(key)
    if (!entry) return
    entries.delete(key)
    size -= sizeOf(key, entry.value)
  }

  function get(key: string): string | null {
    const entry = entries.get(key)
    if (entry && entry.expiresAt > now()) return entry.value
    remove(key)
    return null
  }

  /** Looks at two entries for each new one: it gets round before as many have come as there are. */
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

  function put(key: string, value: string, ttlMs: number) {
    dropSomeExpired()
    remove(key)
    entries.set(key, { value, expiresAt: now() + ttlMs })
    size += sizeOf(key, value)
    // A Map keeps the order of insertion.
    for (const oldest of entries.keys()) {
      if (size <= maximumSize) return
      remove(oldest)
    }
  }

  return {
    async look(fresh, key) {
      const stamp = get(fresh.key)
      if (stamp === null) put(fresh.key, fresh.value, fresh.ttlMs)
      return { stamp: stamp ?? fresh.value, text: get(key) }
    },
    async put(given) {
      for (const { key, value, ttlMs } of given) put(key, value, ttlMs)
    },
    size: () => size,
    clear() {
      entries.clear()
      sweep = entries.entries()
      size = 0
    },
  }
}
