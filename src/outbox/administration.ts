/** Statements for an operator of the outbox, one a function. A dead letter is an event with `dead_at`. */
import type { Database } from '../ports/database.ts'
import { leaseMs } from './timing.ts'

type OutboxSummary = {
  /** Events still to be delivered. */
  waiting: number
  /** Waiting events that the relay takes next. The others are in flight, or back off after a failure. */
  due: number
  /** Waiting events that failed at least once. */
  failing: number
  dead: number
  /** Age of the oldest waiting event. */
  oldest_age_seconds: number | null
}

type OutboxRow = {
  id: string
  type: string
  /** Path of the resource that the event is about. */
  subject: string
  attempts: number
  created_at: string
  next_attempt_at: string
  last_error: string | null
  dead_at: string | null
}

const columns = `id, payload ->> 'detail-type' as type, payload -> 'resources' ->> 0 as subject, attempts,
  extract(epoch from created_at) created_at, extract(epoch from next_attempt_at) next_attempt_at, last_error,
  extract(epoch from dead_at) dead_at`

export async function summarizeOutbox(db: Database): Promise<OutboxSummary> {
  const [row] = await db.query<OutboxSummary>(
    `select
      count(*) filter (where dead_at is null)::int waiting,
      count(*) filter (where dead_at is null and next_attempt_at <= clock_timestamp())::int due,
      count(*) filter (where dead_at is null and last_error is not null)::int failing,
      count(*) filter (where dead_at is not null)::int dead,
      extract(epoch from clock_timestamp() - min(created_at) filter (where dead_at is null))::bigint
        oldest_age_seconds
    from outbox`,
  )
  return row ?? { waiting: 0, due: 0, failing: 0, dead: 0, oldest_age_seconds: null }
}

/** Dead letters first, then events that failed; the oldest first. */
export async function listFailures(db: Database, limit: number) {
  return db.query<OutboxRow>(
    `select ${columns} from outbox
    where dead_at is not null or last_error is not null
    order by outbox.dead_at is null, outbox.created_at, id limit $1`,
    [limit],
  )
}

/**
 * Makes dead letters and events that back off due now: the one with that id, or all. Skips events that may be
 * in flight: their next attempt is at most one lease away. A dead letter starts again with no attempts and no
 * age; otherwise its next failure would end it.
 */
export async function requeueEvents(db: Database, id: string | null) {
  return db.run(
    (sql) => sql<{ id: string; was_dead: boolean }[]>`
      with chosen as materialized (
        select id, dead_at is not null was_dead from outbox
        where (${id}::uuid is null or id = ${id}::uuid)
          and (dead_at is not null or next_attempt_at > clock_timestamp() + ${`${leaseMs} ms`}::interval)
        for update
      )
      update outbox o set
        dead_at = null,
        held = false,
        next_attempt_at = clock_timestamp(),
        attempts = case when was_dead then 0 else attempts end,
        deferrals = case when was_dead then 0 else deferrals end,
        created_at = case when was_dead then clock_timestamp() else created_at end
      from chosen
      where o.id = chosen.id
      returning o.id, was_dead`,
  )
}

/** `$1` null chooses all dead letters. */
const isChosen = '(id = $1::uuid or ($1::uuid is null and dead_at is not null))'

export async function countDroppable(db: Database, id: string | null): Promise<number> {
  const [row] = await db.query<{ count: number }>(`select count(*)::int from outbox where ${isChosen}`, [id])
  return row?.count ?? 0
}

/** Returns the dropped events with their payloads, which are stored nowhere else. */
export async function dropEvents(db: Database, id: string | null) {
  return db.query<OutboxRow & { payload: unknown }>(
    `delete from outbox where ${isChosen} returning ${columns}, payload`,
    [id],
  )
}

export async function isWaiting(db: Database, id: string) {
  const rows = await db.query('select from outbox where id = $1::uuid', [id])
  return rows.length > 0
}
