/** Cached answers in this process's memory. */
import type { Texts } from '../store.ts'

/** Keeps at most so much, in UTF-16 units; what was put first goes first. */
export function memoryTexts({ now = () => Date.now(), maximumSize = 16 * 1024 * 1024 } = {}): Texts & {
  size(): number
} {
  const entries = new Map<string, { value: string; expiresAt: number }>()
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

  function put(key: string, value: string, ttlMs: number) {
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
  }
}
