/** Delivers the outbox: claims due events, invokes the notifier with each, and removes those it handled. */

import { backoffMs } from '../core/backoff.ts'
import { describeFailure } from '../core/failure.ts'
import { errorFields, type Logger } from '../core/log.ts'
import { type Database, DatabaseUnavailableError } from '../ports/database.ts'
import type { DeliveryOutcome, Metrics } from '../ports/metrics.ts'
import type { OutboxEvent } from './event.ts'
import { InvocationError } from './lambda-client.ts'
import * as outbox from './outbox.ts'
import { leaseMs } from './timing.ts'

/** An older event becomes a dead letter at its next failure. Lambda's own queue has the same default. */
const maximumAgeMs = 6 * 3_600_000
const maxInFlight = 10
/** Between attempts of an event that the function failed to handle. */
const retry = { firstMs: 1000, longestMs: 5 * 60_000, jitter: 0.5 }
/** Between passes while the notifier is away or throttles, if its Retry-After asks for no more. */
const outage = { firstMs: 500, longestMs: 3000, jitter: 0.5, longestAskedMs: 5 * 60_000 }
const pollMs = { afterFailure: 1000, idle: 5000 }

type RelayOptions = {
  db: Database
  invoke: (event: OutboxEvent) => Promise<void>
  log: Logger
  metrics?: Pick<Metrics, 'deliveryEnded'>
}

/**
 * Claims no more events after `claimForMs`; the first ones are always claimed. `pauseMs`: how long to start
 * no other pass, as the notifier is away or throttles.
 */
type DeliverDue = (options?: { claimForMs?: number }) => Promise<{ failed: boolean; pauseMs: number }>

/**
 * Returns a function that makes one pass over all due events, several at a time; a slow delivery delays no
 * other. A pass claims no more events once the notifier is unreachable, so an outage costs few attempts
 * however many events wait. While a channel of the notifier is throttled, events that wait only for it are
 * not claimed.
 */
export function createDelivery(options: RelayOptions): DeliverDue {
  let outages = 0
  let heldUntil = 0
  let turn = outbox.firstTurn

  /** `isWhole`: this claim covered all creators. */
  async function claim(limit: number) {
    const after = turn
    const withHeld = performance.now() >= heldUntil
    const { events, next } = await outbox.claimEvents(options.db, { limit, leaseMs, after, withHeld })
    turn = next ?? outbox.firstTurn
    return { events, isLast: next === null, isWhole: next === null && after === outbox.firstTurn }
  }

  return async function deliverDue({ claimForMs = Number.POSITIVE_INFINITY } = {}) {
    const startedAt = performance.now()
    const inFlight = new Set<Promise<void>>()
    let pauseMs = backoffMs(outages, outage)
    let failed = false
    let unreachable = false
    let more = true
    /** Rounds over all creators that found nothing due. The first may have started in the middle. */
    let emptyRounds = 0

    function start(event: outbox.ClaimedEvent) {
      const delivery = deliver(options, event, pauseMs)
        .catch((error: unknown): Delivery => {
          // The event is claimed again when its lease ends.
          options.log.warn('the outbox could not be written', errorFields(error))
          return { outcome: 'failed' }
        })
        .then(({ outcome, unreachableForMs = 0, heldForMs = 0 }) => {
          inFlight.delete(delivery)
          failed ||= outcome !== 'handled'
          unreachable ||= unreachableForMs > 0
          pauseMs = Math.max(pauseMs, unreachableForMs)
          heldUntil = Math.max(heldUntil, performance.now() + heldForMs)
        })
      inFlight.add(delivery)
    }

    while (more || inFlight.size > 0) {
      if (more && inFlight.size < maxInFlight) {
        const limit = maxInFlight - inFlight.size
        const { events, isLast, isWhole } = await claim(limit)
        if (events.length > 0) emptyRounds = 0
        else if (isLast) emptyRounds++
        more = events.length === limit || (!isWhole && emptyRounds < 2)
        more &&= performance.now() - startedAt < claimForMs
        for (const event of events) start(event)
      }
      if (inFlight.size === maxInFlight || (inFlight.size > 0 && !more)) await Promise.race(inFlight)
      if (unreachable) more = false
    }
    outages = unreachable ? outages + 1 : 0
    return { failed, pauseMs: unreachable ? pauseMs : 0 }
  }
}

type Delivery = {
  outcome: DeliveryOutcome
  /** Set when the notifier was not reached. */
  unreachableForMs?: number
  /** Set when only throttled channels kept the event from being handled. */
  heldForMs?: number
}

async function deliver(options: RelayOptions, event: outbox.ClaimedEvent, pauseMs: number) {
  const startedAt = performance.now()
  const delivery = await attempt(options, event, pauseMs)
  const ageMs = event.age_ms + performance.now() - startedAt
  options.metrics?.deliveryEnded({ outcome: delivery.outcome, ageMs })
  return delivery
}

async function attempt(
  { db, invoke, log }: RelayOptions,
  event: outbox.ClaimedEvent,
  pauseMs: number,
): Promise<Delivery> {
  const failure = await invoke(event.payload).then(
    () => undefined,
    (error: unknown) => ({ error }),
  )
  if (!failure) {
    await outbox.deleteEvent(db, event.id)
    return { outcome: 'handled' }
  }
  const { error } = failure
  const invocation = error instanceof InvocationError ? error : undefined
  const message = error instanceof Error ? error.message : String(error)
  const { retryable, throttledMs: heldForMs, retryAfterMs = 0 } = invocation?.failure ?? {}
  if (heldForMs !== undefined) {
    // Its age does not matter here: the channel delays the event, not the event itself.
    log.info('event held back', { event_id: event.id, for_ms: heldForMs })
    await outbox.postponeEvent(db, event, { delayMs: heldForMs, error: message, throttled: true })
    return { outcome: 'throttled', heldForMs }
  }
  const fields = { event_id: event.id, attempt: event.attempts, ...errorFields(error) }
  if (retryable === false || event.age_ms > maximumAgeMs) {
    log.error('event is a dead letter', fields)
    await outbox.markDead(db, event, message)
    return { outcome: 'given up' }
  }
  log.warn('event not delivered', fields)
  const unreachable = invocation !== undefined && isOutage(invocation)
  const askedMs = Math.min(retryAfterMs, outage.longestAskedMs)
  const delayMs = unreachable
    ? Math.max(pauseMs, askedMs)
    : backoffMs(event.attempts - event.deferrals - 1, retry)
  await outbox.postponeEvent(db, event, { delayMs, error: message, throttled: false })
  return unreachable ? { outcome: 'unreachable', unreachableForMs: delayMs } : { outcome: 'failed' }
}

/** The event is not to blame for it. A late answer may be the event's own fault. */
function isOutage({ failure: { status }, timedOut }: InvocationError): boolean {
  if (timedOut) return false
  return status === undefined || status === 403 || status === 404 || status === 429 || status >= 500
}

/** Delivers in a long-lived process: after writes, after failures, and at intervals for other processes. */
export function startRelay(deliverDue: DeliverDue, log: Logger) {
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let again = true
  let stopped = false
  let pausedUntil = 0
  let reported: string | undefined

  /** Logs an outage once, not at each pass. The start and /readyz report missing migrations. */
  function report(error: unknown) {
    const failure = describeFailure(error)
    const isUnmigrated = error instanceof DatabaseUnavailableError && error.reason === 'unmigrated'
    if (failure !== reported && !isUnmigrated) log.warn('the outbox could not be read', errorFields(error))
    reported = failure
  }

  async function run() {
    let nextMs = pollMs.idle
    try {
      while (again) {
        again = false
        const { failed, pauseMs } = await deliverDue()
        reported = undefined
        pausedUntil = Date.now() + pauseMs
        if (failed) nextMs = pollMs.afterFailure
        if (pauseMs === 0) continue
        nextMs = pauseMs
        break
      }
    } catch (error) {
      report(error)
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
    /** Starts a pass, or another after the current one. Ignored while paused or stopped. */
    wake() {
      if (!stopped && Date.now() >= pausedUntil) start()
    },
    /** Makes a last pass, for events that were just committed, and resolves when it has ended. */
    async stop() {
      stopped = true
      clearTimeout(timer)
      // The pass in progress may have claimed before the last event was committed.
      start()
      await running
    },
  }
}
