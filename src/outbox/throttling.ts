/** How a throttled channel of the notifier delays events: from its receiver's answer to the relay. */

/** A receiver that asks for longer, or names a wrong date, is called again after an hour all the same. */
const longestMs = 3_600_000
const shortestMs = 1000

const name = 'ChannelThrottled'

/** Only throttled channels hold the event. Lambda passes on only name and message, which has the time. */
export class ChannelThrottledError extends Error {
  override name = name
  constructor(retryAfterMs: number, message: string) {
    super(`again in ${Math.ceil(retryAfterMs)} ms: ${message}`)
  }
}

/** Returns the wait of a ChannelThrottledError of the function, and undefined for another error. */
export function throttledForMs({ type, message }: { type: string | undefined; message: string }) {
  const [, ms] = (type === name && /^again in (\d+) ms: /.exec(message)) || []
  return ms === undefined ? undefined : boundThrottle(Number(ms))
}

export const boundThrottle = (ms: number) => Math.min(Math.max(ms, shortestMs), longestMs)

/** Returns the wait in `Retry-After` (RFC 9110), or undefined if it is malformed. */
export function parseRetryAfter(header: string | null): number | undefined {
  if (header === null) return undefined
  if (/^\d+$/.test(header)) return Number(header) * 1000
  // The three forms of a date begin with a day. JavaScript would not read the third one, asctime's, as UTC.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(header)) return undefined
  const ms = Date.parse(header.endsWith('GMT') ? header : `${header} GMT`) - Date.now()
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined
}
