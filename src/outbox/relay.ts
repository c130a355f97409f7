/** Delivers the outbox: claims what is due, invokes the notifier with it, and removes what was handled. */

import { backoffMs } from '../core/backoff.ts'
import { describeFailure } from '../core/failure.ts'
import { errorFields, type Logger } from '../core/log.ts'
import { type Database, DatabaseUnavailableError } from '../ports/database.ts'
import type { DeliveryOutcome, Metrics } from '../ports/metrics.ts'
import type { CompletionEvent } from './completion-event.ts'
import { InvocationError } from './lambda-client.ts'
import * as outbox from './outbox.ts'
import { leaseMs } from './timing.ts'

/** An event is given up when it is this old and fails once more, as Lambda's own queue does by default. */
const maximumAgeMs = 6 * 3_600_000
/** Deliveries under way at a time. */
const together = 10
/** Of an event that the function failed to handle: doubles with each attempt. */
const backoff = { firstMs: 1000, longestMs: 5 * 60_000, jitter: 0.5 }
/** Of everything, while nothing answers or everything is throttled: so long is the next try put off, unless it is told for how long. */
const outage = { firstMs: 500, longestMs: 3000, jitter: 0.5, longestAskedMs: 5 * 60_000 }
/** How soon to look again by itself: after a failure, and when there was nothing left to do. */
const pollMs = { afterFailure: 1000, idle: 5000 }

export type RelayOptions = {
  db: Database
  invoke: (event: CompletionEvent) => Promise<void>
  log: Logger
  metrics?: Pick<Metrics, 'deliveryEnded'>
}

export type Sweep = (options?: SweepOptions) => Promise<{ failed: boolean; pauseMs: number }>

type SweepOptions = {
  /** No more events are claimed once so long has passed, where time is short; the first ones always are. */
  claimForMs?: number
}

/**
 * One pass over all that is due, some at a time; runs on every runtime. A slow delivery holds up no other. The pass claims
 * no more once the notifier cannot be reached: an outage costs a few attempts now and then, however much waits.
 * While a channel of the notifier is throttled, events that wait for it alone are not claimed.
 * `pauseMs` says how long to leave it alone then: as long as it asked for itself by `Retry-After`, up to 5 minutes.
 */
export function createSweep(options: RelayOptions): Sweep {
  let outages = 0
  let heldUntil = 0
  let turn = outbox.firstTurn

  /** `isWhole`: this claim has asked for the events of all creators. */
  async function claim(limit: number) {
    const after = turn
    const withHeld = performance.now() >= heldUntil
    const { events, next } = await outbox.claimEvents(options.db, { limit, leaseMs, after, withHeld })
    turn = next ?? outbox.firstTurn
    return { events, isLast: next === null, isWhole: next === null && after === outbox.firstTurn }
  }

  return async function sweep({ claimForMs = Number.POSITIVE_INFINITY } = {}) {
    const begun = performance.now()
    const underWay = new Set<Promise<void>>()
    let pauseMs = backoffMs(outages, outage)
    let failed = false
    let unreachable = false
    let more = true
    /** Rounds over all creators that have found nothing due; the first may have begun in the middle. */
    let emptyRounds = 0
    /** The outbox could not be told; the event comes again when its lease ends. */
    const unknownOutcome = (error: unknown) => {
      options.log.warn('the outbox could not be written', errorFields(error))
      return ended('failed')
    }
    while (more || underWay.size > 0) {
      if (more && underWay.size < together) {
        const limit = together - underWay.size
        const claimed = await claim(limit)
        if (claimed.events.length > 0) emptyRounds = 0
        else if (claimed.isLast) emptyRounds++
        more = claimed.events.length === limit || (!claimed.isWhole && emptyRounds < 2)
        more &&= performance.now() - begun < claimForMs
        for (const event of claimed.events) {
          const delivery = deliver(options, event, pauseMs)
            .catch(unknownOutcome)
            .then(({ outcome, unreachableForMs, heldForMs }) => {
              underWay.delete(delivery)
              failed ||= outcome !== 'handled'
              unreachable ||= unreachableForMs > 0
              pauseMs = Math.max(pauseMs, unreachableForMs)
              heldUntil = Math.max(heldUntil, performance.now() + heldForMs)
            })
          underWay.add(delivery)
        }
      }
      if (underWay.size === together || (underWay.size > 0 && !more)) await Promise.race(underWay)
      if (unreachable) more = false
    }
    outages = unreachable ? outages + 1 : 0
    return { failed, pauseMs: unreachable ? pauseMs : 0 }
  }
}

/**
 * `unreachableForMs` is 0 when the notifier was there, `heldForMs` when none of its channels was throttled.
 */
type Delivery = { outcome: DeliveryOutcome; unreachableForMs: number; heldForMs: number }

const ended = (outcome: DeliveryOutcome, waits: Partial<Delivery> = {}): Delivery => ({
  unreachableForMs: 0,
  heldForMs: 0,
  ...waits,
  outcome,
})

async function deliver(options: RelayOptions, event: outbox.ClaimedEvent, pauseMs: number) {
  const begun = performance.now()
  const delivery = await attempt(options, event, pauseMs)
  const ageMs = event.age_ms + performance.now() - begun
  options.metrics?.deliveryEnded({ outcome: delivery.outcome, ageMs })
  return delivery
}

async function attempt(
  { db, invoke, log }: RelayOptions,
  event: outbox.ClaimedEvent,
  pauseMs: number,
): Promise<Delivery> {
  try {
    await invoke(event.payload)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    const fields = { event_id: event.id, attempt: event.attempts, ...errorFields(error) }
    if (error instanceof InvocationError && error.throttledMs !== undefined) {
      // Its age does not end it, either: it is the channel's turn, not the event, that is late.
      log.info('completion event held back', { event_id: event.id, for_ms: error.throttledMs })
      await outbox.postponeEvent(db, event, { delayMs: error.throttledMs, error: message, throttled: true })
      return ended('throttled', { heldForMs: error.throttledMs })
    }
    const final = error instanceof InvocationError && !error.retryable
    if (final || event.age_ms > maximumAgeMs) {
      log.error('completion event given up', fields)
      await outbox.giveUpEvent(db, event, message)
      return ended('given up')
    }
    log.warn('completion event not delivered', fields)
    const unreachable = error instanceof InvocationError && isOutage(error)
    const askedMs = unreachable ? Math.min(error.retryAfterMs ?? 0, outage.longestAskedMs) : 0
    const delayMs = unreachable
      ? Math.max(pauseMs, askedMs)
      : backoffMs(event.attempts - event.deferrals - 1, backoff)
    await outbox.postponeEvent(db, event, { delayMs, error: message, throttled: false })
    return unreachable ? ended('unreachable', { unreachableForMs: delayMs }) : ended('failed')
  }
  await outbox.deleteEvent(db, event.id)
  return ended('handled')
}

/**
 * Nobody there, a refusal of whoever calls, or a service in trouble: it says nothing about the event. An answer that does
 * not come in time may be the event's own doing.
 */
function isOutage({ status, timedOut }: InvocationError): boolean {
  if (timedOut) return false
  return status === undefined || status === 403 || status === 404 || status === 429 || status >= 500
}

export type Relay = {
  /** An event was committed: sweep now, or right after the sweep that is under way. */
  wake: () => void
  /** Sweeps once more, for events just committed, and starts no sweep after it. Resolves when it has ended. */
  stop: () => Promise<void>
}

/** Keeps sweeping in a process that lives: woken by writes, by failures' retries, and by a timer for what others left. */
export function startRelay(sweep: Sweep, log: Logger): Relay {
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let again = true
  let stopped = false
  let pausedUntil = 0
  let told: string | undefined

  /** An outage is told once, not every second; that migrations are missing, the start and /readyz say. */
  function tell(error: unknown) {
    const failure = describeFailure(error)
    const isUnmigrated = error instanceof DatabaseUnavailableError && error.reason === 'unmigrated'
    if (failure !== told && !isUnmigrated) log.warn('the outbox could not be read', errorFields(error))
    told = failure
  }

  async function run() {
    let nextMs = pollMs.idle
    try {
      while (again) {
        again = false
        const { failed, pauseMs } = await sweep()
        told = undefined
        pausedUntil = Date.now() + pauseMs
        if (failed) nextMs = pollMs.afterFailure
        if (pauseMs > 0) {
          nextMs = pauseMs
          break
        }
      }
    } catch (error) {
      tell(error)
      nextMs = pollMs.afterFailure
    }
    running = undefined
    if (!stopped) timer = setTimeout(start, nextMs)
  }

  function start() {
    clearTimeout(timer)
    again = true
    running ??= run()
  }

  start()
  return {
    wake() {
      if (stopped || Date.now() < pausedUntil) return
      start()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      // What is under way may have looked before the last event was committed.
      start()
      await running
    },
  }
}
