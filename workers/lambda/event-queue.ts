/**
 * Events, accepted now and handled soon, as Lambda's own queue does: at least once, tried again when the function fails, given
 * up to the on-failure destination. https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
 */

import { backoffMs } from '../../src/core/backoff.ts'
import { errorFields, type Logger } from '../../src/core/log.ts'
import { throttledForMs } from '../../src/outbox/throttling.ts'
import type { Database } from '../../src/ports/database.ts'
import { type Destination, describeFailedEvent } from './destination.ts'
import type { EventKeeper } from './event-queue-port.ts'
import type { Execution } from './execution.ts'
import * as queue from './queued-events.ts'

type Options = {
  db: Database
  execution: Execution
  /** How long to wait before each retry of an event that the function failed to handle; as many retries as it has members. */
  retryDelaysMs: readonly number[]
  /** An event is given up when it is older. */
  maximumAgeMs: number
  /** How long a claimed event belongs to its claimer: longer than the function's time-out. */
  leaseMs: number
  /** Gets an event that was given up. */
  destination?: Destination | undefined
  log: Logger
}

/** Each of its promises rejects when the database does not answer. */
export type EventQueue = EventKeeper & {
  /** Takes no more events; resolves when those under way have ended. */
  stop(): Promise<void>
}

/** Events under way at a time, and how soon to look for some by itself. */
const together = 10
const pollMs = 1000
/** How many of those that were given up are shown. */
const shown = 100
/** Of what the event is not to blame for: no environment free, no answer of the destination. Doubles. */
const backoff = { firstMs: 1000, longestMs: 5 * 60_000 }

export function startEventQueue(options: Options): EventQueue {
  const { db, execution, leaseMs, log } = options
  const { functionName } = execution
  const underWay = new Set<Promise<void>>()
  let filling: Promise<void> | undefined
  let again = false
  let stopped = false
  /** A throttled channel keeps the function from handling what waits. */
  let throttledUntil = 0
  let away = false

  function wake() {
    if (stopped) return
    again = true
    filling ??= fill().finally(() => {
      filling = undefined
    })
  }

  async function fill() {
    while (again && !stopped && Date.now() >= throttledUntil) {
      again = false
      // What no environment is free for stays in the queue; the end of an event, or the timer, comes back for it.
      const room = Math.min(together - underWay.size, execution.free())
      if (room <= 0) return
      const claimed = await claim(room)
      again ||= claimed.length === room
      for (const event of claimed) take(event)
    }
  }

  async function claim(limit: number) {
    try {
      const claimed = await queue.claimEvents(db, { functionName, limit, leaseMs })
      away = false
      return claimed
    } catch (error) {
      // Once, not every second.
      if (!away) log.error('the event queue cannot be read', errorFields(error))
      away = true
      return []
    }
  }

  function pause(ms: number) {
    throttledUntil = Math.max(throttledUntil, Date.now() + ms)
  }

  function take(event: queue.QueuedEvent) {
    const work = handle(options, event, pause)
      .catch((error) => {
        // It comes again when its lease has run out.
        const fields = { request_id: event.request_id, ...errorFields(error) }
        log.warn('what became of an event was not recorded', fields)
      })
      .finally(() => {
        underWay.delete(work)
        wake()
      })
    underWay.add(work)
  }

  const timer = setInterval(wake, pollMs)
  wake()
  return {
    async put(event) {
      await queue.insertEvent(db, { ...event, functionName })
      wake()
    },
    async look() {
      const counts = await queue.countEvents(db, functionName)
      const dead = await queue.listDeadEvents(db, functionName, shown)
      return { ...counts, events: dead.map(describeDeadEvent) }
    },
    async redrive(requestId) {
      const count = await queue.redriveEvents(db, functionName, requestId)
      wake()
      return count
    },
    drop: (requestId) => queue.dropEvents(db, functionName, requestId),
    async stop() {
      stopped = true
      clearInterval(timer)
      await filling
      await Promise.all(underWay)
    },
  }
}

/** @param pause is told for how long the function has no use for events */
async function handle(
  options: Options,
  event: queue.QueuedEvent,
  pause: (ms: number) => void,
): Promise<void> {
  const { db, execution, retryDelaysMs, maximumAgeMs } = options
  const { request_id: requestId, function_arn: arn, failures, deferrals } = event
  if (isConcluded(event)) return bury(options, event)
  // Those of notifiers that died count: the function may have had the event.
  const attempt = event.claims - deferrals
  if (event.age_ms > maximumAgeMs) {
    const condition = 'EventAgeExceeded'
    return giveUp(options, { ...event, condition, invocations: attempt - 1, deferrals: 0 })
  }
  const call = { event: JSON.parse(event.payload), arn, requestId, type: 'Event', attempt } as const
  const outcome = await execution.run(call)
  if (!outcome) return queue.deferEvent(db, event, backoffMs(deferrals, backoff))
  if (!outcome.error) return queue.deleteEvent(db, requestId)
  const throttledMs = throttledForMs(outcome.error)
  if (throttledMs !== undefined) {
    pause(throttledMs)
    return queue.deferEvent(db, event, throttledMs)
  }
  const delayMs = retryDelaysMs[failures]
  const failed = { failures: failures + 1, response: outcome.payload }
  if (delayMs !== undefined) return queue.retryEvent(db, event, { ...failed, delayMs })
  const condition = 'RetriesExhausted'
  await giveUp(options, { ...event, ...failed, condition, invocations: attempt, deferrals: 0 })
}

const isConcluded = (event: queue.QueuedEvent): event is queue.ConcludedEvent => event.condition !== null

/** That it is given up is recorded before the destination is told of it: from then on the function does not get it again. */
async function giveUp(options: Options, event: queue.ConcludedEvent) {
  if (await queue.concludeEvent(options.db, event, options)) await bury(options, event)
}

async function bury({ db, destination, log }: Options, event: queue.ConcludedEvent) {
  const fields = { request_id: event.request_id, condition: event.condition }
  try {
    await destination?.(describeFailedEvent(event))
  } catch (error) {
    log.error('the on-failure destination did not take an event', { ...fields, ...errorFields(error) })
    return queue.deferEvent(db, event, backoffMs(event.deferrals, backoff))
  }
  await queue.buryEvent(db, event.request_id)
  log.error('event given up', fields)
}

function describeDeadEvent({ response, ...event }: queue.DeadEvent) {
  const last =
    response === null ? null : (JSON.parse(response) as { errorType: string; errorMessage: string })
  return { ...event, error: last && `${last.errorType}: ${last.errorMessage}` }
}
