/** Calls a channel's receiver, except while it throttles, and never again once it has answered 410 Gone. */
import { backoffMs } from '../../src/core/backoff.ts'
import { boundThrottle, parseRetryAfter } from '../../src/outbox/throttling.ts'

/** The receiver accepts nothing for `retryAfterMs`. */
export class ThrottledError extends Error {
  override name = 'ThrottledError'
  readonly retryAfterMs: number
  constructor(retryAfterMs: number, message: string) {
    super(message)
    this.retryAfterMs = retryAfterMs
  }
}

/** The receiver answered 410 Gone: it is not called again before a restart. */
export class StoppedError extends Error {
  override name = 'StoppedError'
}

export type ChannelState =
  | { state: 'open' }
  | { state: 'throttled'; until: string }
  | { state: 'stopped'; reason: string }

/** For a receiver that throttles without Retry-After. */
const backoff = { firstMs: 1000, longestMs: 5 * 60_000 }

export function createGate(now: () => number = Date.now) {
  let stopped: string | undefined
  let throttledUntil = 0
  let throttlings = 0
  /** After throttling, a single trial call goes first. It expires, since workerd may drop it silently. */
  let trialUntil = 0

  function check(timeoutMs: number) {
    if (stopped !== undefined) throw new StoppedError(stopped)
    const leftMs = throttledUntil - now()
    if (leftMs > 0) throw new ThrottledError(leftMs, 'is throttled')
    if (throttlings === 0) return
    if (now() < trialUntil) throw new ThrottledError(backoff.firstMs, 'was throttled and is being tried')
    trialUntil = now() + timeoutMs
  }

  function throttle(reason: string, askedMs: number | undefined) {
    // Only the first answer of several concurrent calls counts.
    if (now() >= throttledUntil) throttlings++
    const ownMs = backoffMs(throttlings - 1, backoff)
    const ms = boundThrottle(askedMs ?? ownMs)
    throttledUntil = Math.max(throttledUntil, now() + ms)
    return new ThrottledError(throttledUntil - now(), `throttles: ${reason}`)
  }

  return {
    /** @throws ThrottledError or StoppedError, usually without a call; Error for another answer than 2xx */
    async pass(timeoutMs: number, send: () => Promise<Response>): Promise<void> {
      check(timeoutMs)
      const { ok, status, headers } = await send().finally(() => {
        trialUntil = 0
      })
      const reason = `it answered ${status}`
      if (status === 410) {
        stopped = reason
        throw new StoppedError(stopped)
      }
      const askedMs = parseRetryAfter(headers.get('retry-after'))
      if (status === 429 || (status === 503 && askedMs !== undefined)) throw throttle(reason, askedMs)
      if (now() >= throttledUntil) throttlings = 0
      if (!ok) throw new Error(reason)
    },
    state(): ChannelState {
      if (stopped !== undefined) return { state: 'stopped', reason: stopped }
      if (now() >= throttledUntil) return { state: 'open' }
      return { state: 'throttled', until: new Date(throttledUntil).toISOString() }
    },
  }
}
