/** Statements of the queue, one a function. A dead letter is an event with `dead_at`. */
import type { Database } from '../../src/ports/database.ts'

export type QueuedEvent = {
  request_id: string
  function_arn: string
  payload: string
  age_ms: number
  claims: number
  failures: number
  deferrals: number
  /** The error object of the last failed attempt, as JSON. */
  response: string | null
  /** Set, with `invocations`, when the function gets the event no more. */
  condition: Condition | null
  invocations: number | null
}

export type Condition = 'RetriesExhausted' | 'EventAgeExceeded'

/** An update counts only while its claim holds: `claims` distinguishes it from a later claim. */
type Claim = Pick<QueuedEvent, 'request_id' | 'claims'>

export type AcceptedEvent = {
  requestId: string
  /** As the function sees it. */
  arn: string
  /** JSON as it was sent. */
  payload: string
}

export async function insertEvent(db: Database, functionName: string, event: AcceptedEvent) {
  await db.query(
    'insert into notifier_events (request_id, function_name, function_arn, payload) values ($1, $2, $3, $4)',
    [event.requestId, functionName, event.arn, event.payload],
  )
}

/** `$3` is the time from now in ms. */
const later = "clock_timestamp() + $3::float8 * interval '1 ms'"

type Wanted = { functionName: string; limit: number; leaseMs: number }

/**
 * Claims up to `limit` due events, the oldest first; nobody else gets them before the lease ends. An event
 * whose earlier claims were lost may be what kills the host: its lease is longer, from 1 s to 5 minutes.
 */
export async function claimEvents(db: Database, { functionName, limit, leaseMs }: Wanted) {
  return db.query<QueuedEvent>(
    `update notifier_events e set
      claims = claims + 1,
      next_attempt_at = ${later} + case when claims > failures + deferrals
        then least(interval '5 minutes', interval '1 second' * 2 ^ least(claims - failures - deferrals - 1, 9))
        else interval '0' end
    from (
      select request_id from notifier_events
      where function_name = $1 and dead_at is null and next_attempt_at <= clock_timestamp()
      order by next_attempt_at limit $2 for update skip locked
    ) due
    where e.request_id = due.request_id
    returning e.request_id, e.function_arn, e.payload, e.claims, e.failures, e.deferrals, e.response, e.condition,
      e.invocations, (extract(epoch from clock_timestamp() - e.received_at) * 1000)::bigint age_ms`,
    [functionName, limit, leaseMs],
  )
}

export async function deleteEvent(db: Database, requestId: string) {
  await db.query('delete from notifier_events where request_id = $1', [requestId])
}

const claimHolds = 'request_id = $1 and claims = $2'

type Failure = { delayMs: number; failures: number; response: string }

/** After a failure of the function: it gets the event again after `delayMs`. */
export async function retryEvent(db: Database, claim: Claim, { delayMs, failures, response }: Failure) {
  await db.query(
    `update notifier_events set failures = $4, response = $5, next_attempt_at = ${later} where ${claimHolds}`,
    [claim.request_id, claim.claims, delayMs, failures, response],
  )
}

/** Repeats the current step after `delayMs`, without counting a failure. */
export async function deferEvent(db: Database, claim: Claim, delayMs: number) {
  await db.query(
    `update notifier_events set deferrals = deferrals + 1, next_attempt_at = ${later} where ${claimHolds}`,
    [claim.request_id, claim.claims, delayMs],
  )
}

export type DeadEvent = QueuedEvent & { condition: Condition; invocations: number }

/** Ends the function's attempts, with a new lease for the destination. Returns whether the claim held. */
export async function recordCondition(db: Database, event: DeadEvent, { leaseMs }: { leaseMs: number }) {
  const { request_id, claims, condition, invocations, failures, deferrals, response } = event
  const { count } = await db.query(
    `update notifier_events set next_attempt_at = ${later}, condition = $4, invocations = $5,
      failures = $6, deferrals = $7, response = $8
    where ${claimHolds} and condition is null`,
    [request_id, claims, leaseMs, condition, invocations, failures, deferrals, response],
  )
  return count > 0
}

export async function markDead(db: Database, requestId: string) {
  await db.query('update notifier_events set dead_at = clock_timestamp() where request_id = $1', [requestId])
}

export type DeadLetter = {
  request_id: string
  received_at: string
  dead_at: string
  condition: Condition
  invocations: number
  /** JSON; null if the event was never tried. */
  response: string | null
  /** The first 500 characters. */
  payload: string
}

/** The newest first. */
export async function listDeadEvents(db: Database, functionName: string, limit: number) {
  return db.query<DeadLetter>(
    `select request_id, extract(epoch from received_at) received_at, extract(epoch from dead_at) dead_at,
      condition, invocations, response, left(payload, 500) payload
    from notifier_events where function_name = $1 and dead_at is not null
    order by notifier_events.dead_at desc limit $2`,
    [functionName, limit],
  )
}

export async function countEvents(db: Database, functionName: string) {
  const [row] = await db.query<{ waiting: number; dead: number }>(
    `select count(*) filter (where dead_at is null)::int waiting, count(dead_at)::int dead
    from notifier_events where function_name = $1`,
    [functionName],
  )
  return row ?? { waiting: 0, dead: 0 }
}

const isChosen = 'function_name = $1 and dead_at is not null and ($2::uuid is null or request_id = $2::uuid)'

export async function redriveEvents(db: Database, functionName: string, requestId: string | null) {
  const { count } = await db.query(
    `update notifier_events set received_at = clock_timestamp(), next_attempt_at = clock_timestamp(), claims = 0,
      failures = 0, deferrals = 0, response = null, condition = null, invocations = null, dead_at = null
    where ${isChosen}`,
    [functionName, requestId],
  )
  return count
}

export async function dropEvents(db: Database, functionName: string, requestId: string | null) {
  const { count } = await db.query(`delete from notifier_events where ${isChosen}`, [functionName, requestId])
  return count
}
