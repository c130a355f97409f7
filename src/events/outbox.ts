/** The outbox's statements, one a function. */
import type { Database } from '../database.ts'
import type { CompletionEvent } from './completion-event.ts'

export type ClaimedEvent = { id: string; payload: CompletionEvent; attempts: number; age_ms: number }

/** The most that is counted of each. */
const countedUpTo = 100_000

type Measure = { waiting: number; dead: number; oldest_ms: number }

/** How much waits, since when, and how much was given up; read from indexes, and no more than is worth telling. */
export async function measureOutbox(db: Database, { timeoutMs }: { timeoutMs: number }) {
  const [measure] = await db.run(
    (sql) => sql<[Measure]>`
      select
        (select count(*) from (select from outbox where dead_at is null limit ${countedUpTo}) counted)::int waiting,
        (select count(*) from (select from outbox where dead_at is not null limit ${countedUpTo}) counted)::int dead,
        coalesce((select extract(epoch from clock_timestamp() - min(created_at)) * 1000 from outbox
          where dead_at is null), 0)::bigint oldest_ms`,
    { timeoutMs },
  )
  return measure
}

/** Claims up to `limit` events that are due, oldest first; nobody else gets them before the lease ends. */
export async function claimEvents(db: Database, { limit, leaseMs }: { limit: number; leaseMs: number }) {
  return db.run(
    (sql) => sql<ClaimedEvent[]>`
      update outbox o set
        attempts = attempts + 1,
        next_attempt_at = clock_timestamp() + ${`${leaseMs} ms`}::interval
      from (
        select id from outbox where dead_at is null and next_attempt_at <= clock_timestamp()
        order by next_attempt_at limit ${limit} for update skip locked
      ) due
      where o.id = due.id
      returning o.id, o.payload, o.attempts,
        (extract(epoch from clock_timestamp() - o.created_at) * 1000)::bigint age_ms`,
  )
}

export async function deleteEvent(db: Database, id: string) {
  await db.run((sql) => sql`delete from outbox where id = ${id}`)
}

/** What is said of a failure counts only while the claim holds: `attempts` tells it from a later one. */
type Claim = Pick<ClaimedEvent, 'id' | 'attempts'>

export async function postponeEvent(
  db: Database,
  claim: Claim,
  { delayMs, error }: { delayMs: number; error: string },
) {
  await db.run(
    (sql) => sql`
      update outbox set last_error = ${error}, next_attempt_at = clock_timestamp() + ${`${delayMs} ms`}::interval
      where id = ${claim.id} and attempts = ${claim.attempts}`,
  )
}

export async function giveUpEvent(db: Database, claim: Claim, error: string) {
  await db.run(
    (sql) => sql`
      update outbox set last_error = ${error}, dead_at = now()
      where id = ${claim.id} and attempts = ${claim.attempts}`,
  )
}
