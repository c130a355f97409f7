/** How a throttled channel of the notifier holds back events, from its receiver's answer to the relay. */

/** Asked for longer, or by a wrong date, a channel is tried again all the same. */
const longestMs = 3_600_000
const shortestMs = 1000

const name = 'ChannelThrottled'

/**
 * Nothing but throttled channels keeps an event from being handled. Lambda passes on an error's name and
 * message alone, so the time is in the message.
 */
export class ChannelThrottledError extends Error {
  override name = name
  constructor(retryAfterMs: number, message: string) {
    super(`again in ${Math.ceil(retryAfterMs)} ms: ${message}`)
  }
}

/** In milliseconds, when the error that a function failed with is a ChannelThrottledError. */
export function throttledForMs({ type, message }: { type: string | undefined; message: string }) {
  const [, ms] = (type === name && /^again in (\d+) ms: /.exec(message)) || []
  return ms === undefined ? undefined : boundThrottle(Number(ms))
}

export const boundThrottle = (ms: number) => Math.min(Math.max(ms, shortestMs), longestMs)

/** Seconds or a date, as RFC 9110 has it, in milliseconds from now; undefined for anything else. */
export function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  if (/^\d+$/.test(header)) return Number(header) * 1000
  // All three forms of a date begin so; of the third, asctime's, JavaScript would not know that it is in UTC.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(header)) return undefined
  const ms = Date.parse(header.endsWith('GMT') ? header : `${header} GMT`) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
