/** The queue's statements, one a function. */
import type { Database } from '../../src/ports/database.ts'

export type QueuedEvent = {
  request_id: string
  function_arn: string
  payload: string
  age_ms: number
  claims: number
  failures: number
  deferrals: number
  /** The error object of the last try that failed, JSON. */
  response: string | null
  /** Set, with `invocations`, when it is given up. */
  condition: Condition | null
  invocations: number | null
}

export type Condition = 'RetriesExhausted' | 'EventAgeExceeded'

/** What is said of an event counts only while the claim holds: `claims` tells it from a later one. */
type Claim = Pick<QueuedEvent, 'request_id' | 'claims'>

type NewEvent = { requestId: string; functionName: string; arn: string; payload: string }

export async function insertEvent(db: Database, { requestId, functionName, arn, payload }: NewEvent) {
  await db.run(
    (sql) => sql`
      insert into notifier_events (request_id, function_name, function_arn, payload)
      values (${requestId}, ${functionName}, ${arn}, ${payload})`,
  )
}

/**
 * Claims up to `limit` events that are due, oldest first; nobody else gets them before the lease ends. The lease of one whose
 * earlier claims were lost, as it may be what kills the notifier, doubles from 1 s more to 5 minutes more.
 */
export async function claimEvents(
  db: Database,
  { functionName, limit, leaseMs }: { functionName: string; limit: number; leaseMs: number },
) {
  return db.run(
    (sql) => sql<QueuedEvent[]>`
      update notifier_events e set
        claims = claims + 1,
        next_attempt_at = clock_timestamp() + ${`${leaseMs} ms`}::interval
          + case when claims > failures + deferrals
              then least(interval '5 minutes', interval '1 second' * 2 ^ least(claims - failures - deferrals - 1, 9))
              else interval '0' end
      from (
        select request_id from notifier_events
        where function_name = ${functionName} and dead_at is null and next_attempt_at <= clock_timestamp()
        order by next_attempt_at limit ${limit} for update skip locked
      ) due
      where e.request_id = due.request_id
      returning e.request_id, e.function_arn, e.payload, e.claims, e.failures, e.deferrals, e.response, e.condition, e.invocations,
        (extract(epoch from clock_timestamp() - e.received_at) * 1000)::bigint age_ms`,
  )
}

export async function deleteEvent(db: Database, requestId: string) {
  await db.run((sql) => sql`delete from notifier_events where request_id = ${requestId}`)
}

/** The function failed: it gets the event again after `delayMs`. */
export async function retryEvent(
  db: Database,
  claim: Claim,
  { delayMs, failures, response }: { delayMs: number; failures: number; response: string },
) {
  await db.run(
    (sql) => sql`
      update notifier_events set
        failures = ${failures},
        response = ${response},
        next_attempt_at = clock_timestamp() + ${`${delayMs} ms`}::interval
      where request_id = ${claim.request_id} and claims = ${claim.claims}`,
  )
}

/** The event is not to blame: what was to be done with it is to be done after `delayMs`. */
export async function deferEvent(db: Database, claim: Claim, delayMs: number) {
  await db.run(
    (sql) => sql`
      update notifier_events set
        deferrals = deferrals + 1,
        next_attempt_at = clock_timestamp() + ${`${delayMs} ms`}::interval
      where request_id = ${claim.request_id} and claims = ${claim.claims}`,
  )
}

export type ConcludedEvent = QueuedEvent & { condition: Condition; invocations: number }

/**
 * The function gets the event no more, the destination has yet to be told. Begins a new lease for that.
 * @returns whether the claim still held
 */
export async function concludeEvent(db: Database, event: ConcludedEvent, { leaseMs }: { leaseMs: number }) {
  const rows = await db.run(
    (sql) => sql`
      update notifier_events set
        condition = ${event.condition},
        invocations = ${event.invocations},
        failures = ${event.failures},
        deferrals = ${event.deferrals},
        response = ${event.response},
        next_attempt_at = clock_timestamp() + ${`${leaseMs} ms`}::interval
      where request_id = ${event.request_id} and claims = ${event.claims} and condition is null
      returning request_id`,
  )
  return rows.length > 0
}

export async function buryEvent(db: Database, requestId: string) {
  await db.run(
    (sql) => sql`update notifier_events set dead_at = clock_timestamp() where request_id = ${requestId}`,
  )
}

export type DeadEvent = {
  request_id: string
  received_at: string
  dead_at: string
  condition: Condition
  invocations: number
  /** JSON; null when it was never tried. */
  response: string | null
  /** The first 500 characters. */
  payload: string
}

/** The newest first. */
export async function listDeadEvents(db: Database, functionName: string, limit: number) {
  return db.run(
    (sql) => sql<DeadEvent[]>`
      select request_id, extract(epoch from received_at) received_at, extract(epoch from dead_at) dead_at,
        condition, invocations, response, left(payload, 500) payload
      from notifier_events
      where function_name = ${functionName} and dead_at is not null
      order by notifier_events.dead_at desc limit ${limit}`,
  )
}

export async function countEvents(db: Database, functionName: string) {
  const [row] = await db.run(
    (sql) => sql<{ waiting: number; dead: number }[]>`
      select count(*) filter (where dead_at is null)::int waiting, count(dead_at)::int dead
      from notifier_events
      where function_name = ${functionName}`,
  )
  return row ?? { waiting: 0, dead: 0 }
}

/**
 * Puts dead events back as if they had just come; `requestId` names one, null means all.
 * @returns how many there were
 */
export async function redriveEvents(db: Database, functionName: string, requestId: string | null) {
  const rows = await db.run(
    (sql) => sql`
      update notifier_events set
        received_at = clock_timestamp(),
        next_attempt_at = clock_timestamp(),
        claims = 0,
        failures = 0,
        deferrals = 0,
        response = null,
        condition = null,
        invocations = null,
        dead_at = null
      where function_name = ${functionName} and dead_at is not null
        and (${requestId}::uuid is null or request_id = ${requestId}::uuid)
      returning request_id`,
  )
  return rows.length
}

/**
 * Deletes dead events; `requestId` names one, null means all.
 * @returns how many there were
 */
export async function dropEvents(db: Database, functionName: string, requestId: string | null) {
  const rows = await db.run(
    (sql) => sql`
      delete from notifier_events
      where function_name = ${functionName} and dead_at is not null
        and (${requestId}::uuid is null or request_id = ${requestId}::uuid)
      returning request_id`,
  )
  return rows.length
}
