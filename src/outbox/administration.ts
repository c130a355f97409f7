/** What an operator does with the outbox by hand; one statement a function. */
import type { Database } from '../ports/database.ts'
import { leaseMs } from './timing.ts'

export type OutboxSummary = {
  /** Not given up: all that are still to be delivered. */
  waiting: number
  /** Of those, what the relay takes next; others are under way or wait after a failure. */
  due: number
  /** Of those, what has failed at least once. */
  failing: number
  dead: number
  /** Of what is waiting; null when nothing is. */
  oldest_age_seconds: number | null
}

export type OutboxEvent = {
  id: string
  task_id: number
  attempts: number
  created_at: string
  next_attempt_at: string
  last_error: string | null
  dead_at: string | null
}

export async function summarizeOutbox(db: Database) {
  const [row] = await db.run(
    (sql) => sql<[OutboxSummary]>`
      select
        count(*) filter (where dead_at is null)::int waiting,
        count(*) filter (where dead_at is null and next_attempt_at <= clock_timestamp())::int due,
        count(*) filter (where dead_at is null and last_error is not null)::int failing,
        count(*) filter (where dead_at is not null)::int dead,
        extract(epoch from clock_timestamp() - min(created_at) filter (where dead_at is null))::bigint
          oldest_age_seconds
      from outbox`,
  )
  return row
}

/** Those that failed, the given up ones first, oldest first. */
export async function listTroubled(db: Database, limit: number) {
  return db.run(
    (sql) => sql<OutboxEvent[]>`
      select id, (payload -> 'detail' -> 'task' ->> 'id')::bigint task_id, attempts,
        extract(epoch from created_at) created_at, extract(epoch from next_attempt_at) next_attempt_at,
        last_error, extract(epoch from dead_at) dead_at
      from outbox
      where dead_at is not null or last_error is not null
      order by outbox.dead_at is null, outbox.created_at, id limit ${limit}`,
  )
}

/**
 * Makes what was given up, and what waits after a failure, due now: all of it, or the one of that id. What may be under way at this
 * moment is left alone: an attempt that is further off than a lease is nobody's, and a nearer one comes by itself. A
 * given up event begins anew, age included, or its next failure would end it again.
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

/** `id` null: everything that was given up. */
const chosenToDrop = (id: string | null) => ({ one: id, dead: id === null })

export async function listDroppable(db: Database, id: string | null) {
  const { one, dead } = chosenToDrop(id)
  return db.run(
    (sql) => sql<{ id: string }[]>`
      select id from outbox where id = ${one}::uuid or (${dead} and dead_at is not null)`,
  )
}

/** Answers what was dropped, payload included: it is nowhere else any more. */
export async function dropEvents(db: Database, id: string | null) {
  const { one, dead } = chosenToDrop(id)
  return db.run(
    (sql) => sql<(OutboxEvent & { payload: unknown })[]>`
      delete from outbox
      where id = ${one}::uuid or (${dead} and dead_at is not null)
      returning id, (payload -> 'detail' -> 'task' ->> 'id')::bigint task_id, attempts,
        extract(epoch from created_at) created_at, extract(epoch from next_attempt_at) next_attempt_at,
        last_error, extract(epoch from dead_at) dead_at, payload`,
  )
}

export async function isWaiting(db: Database, id: string) {
  const rows = await db.run((sql) => sql`select from outbox where id = ${id}::uuid`)
  return rows.length > 0
}
