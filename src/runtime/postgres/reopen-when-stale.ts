/** A resource that is opened at its first use, and opened anew after a long time without use. */

type Options<T> = {
  open: () => T
  close: (resource: T) => Promise<void>
  staleAfterMs: number
  /** Milliseconds since the epoch. */
  now?: () => number
}

/** `use` returns the current resource. Its age counts from the last `use` or `used`. */
export function reopenWhenStale<T>({ open, close, staleAfterMs, now = Date.now }: Options<T>) {
  let current: { resource: T; usedAt: number } | undefined
  return {
    use(): T {
      if (current && now() - current.usedAt > staleAfterMs) {
        close(current.resource).catch(() => {})
        current = undefined
      }
      current ??= { resource: open(), usedAt: 0 }
      current.usedAt = now()
      return current.resource
    },
    used() {
      if (current) current.usedAt = now()
    },
  }
}
