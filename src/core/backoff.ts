type Backoff = {
  firstMs: number
  longestMs: number
  /** The random share of each wait, so that clients do not retry at the same time. 0 by default. */
  jitter?: number
}

/** Returns the wait after a failure: it doubles with each of the `failures` before that one. */
export function backoffMs(failures: number, { firstMs, longestMs, jitter = 0 }: Backoff): number {
  const ms = Math.min(firstMs * 2 ** failures, longestMs)
  return ms * (1 - jitter * Math.random())
}
