/**
 * The queue of asynchronous invocations, as Lambda has one: handles each event at least once, retries
 * failures, and moves what cannot be handled to the dead letters, by way of the on-failure destination.
 * https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
 */

import { backoffMs } from '../../src/core/backoff.ts'
import { errorFields, type Logger } from '../../src/core/log.ts'
import type { Database } from '../../src/ports/database.ts'
import { type Destination, describeDeadEvent } from './destination.ts'
import type { Execution } from './execution.ts'
import type { FunctionError } from './invocation.ts'
import * as queue from './queued-events.ts'

type Options = {
  db: Database
  execution: Execution
  /** The wait before each retry after a failure of the function; as many retries as members. */
  retryDelaysMs: readonly number[]
  /** An older event becomes a dead letter. */
  maximumAgeMs: number
  /** How long a claimed event belongs to its claimer: longer than the function's time-out. */
  leaseMs: number
  /** Returns how long the function asks to get no events, and undefined for an error that is a failure. */
  pauseFor?: (error: FunctionError) => number | undefined
  destination?: Destination | undefined
  log: Logger
}

export type EventQueue = ReturnType<typeof startEventQueue>

const maxInFlight = 10
const pollMs = 1000
const listedDeadEvents = 100
/** After what is not the event's fault: no environment is free, the destination fails. */
const backoff = { firstMs: 1000, longestMs: 5 * 60_000 }

export function startEventQueue(options: Options) {
  const { db, execution, leaseMs, log } = options
  const { functionName } = execution
  const inFlight = new Set<Promise<void>>()
  let filling: Promise<void> | undefined
  let again = false
  let stopped = false
  let pausedUntil = 0
  let isDatabaseAway = false

  function wake() {
    if (stopped) return
    again = true
    filling ??= fill().finally(() => {
      filling = undefined
    })
  }

  async function fill() {
    while (again && !stopped && Date.now() >= pausedUntil) {
      again = false
      const limit = Math.min(maxInFlight - inFlight.size, execution.free())
      if (limit <= 0) return
      const claimed = await claim(limit)
      again ||= claimed.length === limit
      for (const event of claimed) start(event)
    }
  }

  async function claim(limit: number) {
    try {
      const claimed = await queue.claimEvents(db, { functionName, limit, leaseMs })
      isDatabaseAway = false
      return claimed
    } catch (error) {
      // Once for each outage, not at each poll.
      if (!isDatabaseAway) log.error('the event queue cannot be read', errorFields(error))
      isDatabaseAway = true
      return []
    }
  }

  const pause = (ms: number) => {
    pausedUntil = Math.max(pausedUntil, Date.now() + ms)
  }

  function start(event: queue.QueuedEvent) {
    const work = handle(options, event, pause)
      .catch((error) => {
        // The event is claimed again when its lease ends.
        const fields = { request_id: event.request_id, ...errorFields(error) }
        log.warn('the outcome of an event was not recorded', fields)
      })
      .finally(() => {
        inFlight.delete(work)
        wake()
      })
    inFlight.add(work)
  }

  const timer = setInterval(wake, pollMs)
  wake()
  return {
    /** Resolves when the event is durable: only the loss of the database can lose it. */
    async put(event: queue.AcceptedEvent) {
      await queue.insertEvent(db, functionName, event)
      wake()
    },
    async inspect() {
      const counts = await queue.countEvents(db, functionName)
      const dead = await queue.listDeadEvents(db, functionName, listedDeadEvents)
      return { ...counts, events: dead.map(summarizeError) }
    },
    /** Puts a dead letter back, or with null all of them, and returns their number. */
    async redrive(requestId: string | null) {
      const count = await queue.redriveEvents(db, functionName, requestId)
      wake()
      return count
    },
    /** Deletes a dead letter, or with null all of them, and returns their number. */
    drop: (requestId: string | null) => queue.dropEvents(db, functionName, requestId),
    /** Claims no more events. Resolves when those in flight have ended. */
    async stop() {
      stopped = true
      clearInterval(timer)
      await filling
      await Promise.all(inFlight)
    },
  }
}

async function handle(options: Options, event: queue.QueuedEvent, pause: (ms: number) => void) {
  const { db, execution, retryDelaysMs, maximumAgeMs, pauseFor } = options
  const { request_id: requestId, function_arn: arn, failures, deferrals } = event
  if (isDead(event)) return deliverDead(options, event)
  // Includes the attempts of hosts that died: the function may have had the event.
  const attempt = event.claims - deferrals
  if (event.age_ms > maximumAgeMs) {
    const condition = 'EventAgeExceeded'
    return moveToDeadLetters(options, { ...event, condition, invocations: attempt - 1, deferrals: 0 })
  }
  const call = { event: JSON.parse(event.payload), arn, requestId, type: 'Event', attempt } as const
  const outcome = await execution.run(call)
  if (!outcome) return queue.deferEvent(db, event, backoffMs(deferrals, backoff))
  if (!outcome.error) return queue.deleteEvent(db, requestId)
  const pauseMs = pauseFor?.(outcome.error)
  if (pauseMs !== undefined) {
    pause(pauseMs)
    return queue.deferEvent(db, event, pauseMs)
  }
  const delayMs = retryDelaysMs[failures]
  const failed = { failures: failures + 1, response: outcome.payload }
  if (delayMs !== undefined) return queue.retryEvent(db, event, { ...failed, delayMs })
  const condition = 'RetriesExhausted'
  await moveToDeadLetters(options, { ...event, ...failed, condition, invocations: attempt, deferrals: 0 })
}

const isDead = (event: queue.QueuedEvent): event is queue.DeadEvent => event.condition !== null

/** Records the condition before the destination is called: the function must not get the event again. */
async function moveToDeadLetters(options: Options, event: queue.DeadEvent) {
  if (await queue.recordCondition(options.db, event, options)) await deliverDead(options, event)
}

async function deliverDead({ db, destination, log }: Options, event: queue.DeadEvent) {
  const fields = { request_id: event.request_id, condition: event.condition }
  try {
    await destination?.(describeDeadEvent(event))
  } catch (error) {
    log.error('the on-failure destination did not take an event', { ...fields, ...errorFields(error) })
    return queue.deferEvent(db, event, backoffMs(event.deferrals, backoff))
  }
  await queue.markDead(db, event.request_id)
  log.error('event is a dead letter', fields)
}

function summarizeError({ response, ...event }: queue.DeadLetter) {
  if (response === null) return { ...event, error: null }
  const { errorType, errorMessage } = JSON.parse(response) as { errorType: string; errorMessage: string }
  return { ...event, error: `${errorType}: ${errorMessage}` }
}
