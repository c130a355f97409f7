/** Statements of the outbox, one a function. A dead letter is an event with `dead_at`. */
import type { Database } from '../ports/database.ts'
import type { OutboxEvent } from './event.ts'

export type ClaimedEvent = {
  id: string
  payload: OutboxEvent
  /** Including this one. */
  attempts: number
  /** Earlier attempts that ended because a channel was throttled. */
  deferrals: number
  age_ms: number
}

/** Bounds the cost of a count. */
const countedUpTo = 100_000

type Measure = { waiting: number; dead: number; oldest_ms: number }

/** Counts waiting events and dead letters, with the age of the oldest waiting one. Reads only indexes. */
export async function measureOutbox(db: Database, { timeoutMs }: { timeoutMs: number }) {
  const [measure] = await db.query<Measure>(
    `select
      (select count(*) from (select from outbox where dead_at is null limit $1) counted)::int waiting,
      (select count(*) from (select from outbox where dead_at is not null limit $1) counted)::int dead,
      coalesce((select extract(epoch from clock_timestamp() - min(created_at)) * 1000 from outbox
        where dead_at is null), 0)::bigint oldest_ms`,
    [countedUpTo],
    { timeoutMs },
  )
  return measure
}

/** The creator of the last claim. Held events wait for a throttled channel; their turns come last. */
export type Turn = { held: boolean; creator: number }

export const firstTurn: Turn = { held: false, creator: -1 }

/** A claim visits no more creators, however few of them have a due event. */
const maxVisited = 1000

/**
 * Claims up to `limit` due events; nobody else gets them before the lease ends. Takes the oldest event of
 * each creator, starting with the turn after `after`, and more of each where few creators have any. Reads one
 * index entry for each creator and each event, however many wait.
 * @returns `next`, the turn that the next claim starts after, or null when no creator is left
 */
export async function claimEvents(
  db: Database,
  { limit, leaseMs, after, withHeld }: { limit: number; leaseMs: number; after: Turn; withHeld: boolean },
): Promise<{ events: ClaimedEvent[]; next: Turn | null }> {
  // An index cannot be searched for the value of a volatile function, such as clock_timestamp().
  const rows = await db.run(
    (sql) => sql<(ClaimedEvent | { id: null })[] & { next: Turn | null }[]>`
      with recursive turns as (
        (select held, creator, 1 visited from outbox
          where dead_at is null and held <= ${withHeld}
            and (held, creator) > (${after.held}, ${after.creator}::bigint)
          order by held, creator limit 1)
        union all
        select o.held, o.creator, t.visited + 1
        from turns t cross join lateral (
          select held, creator from outbox
          where dead_at is null and (held, creator) > (t.held, t.creator) and held <= ${withHeld}
          order by held, creator limit 1) o
        where t.visited < ${maxVisited}
      ), in_turn as materialized (
        select t.held, t.creator, due.id
        from turns t cross join lateral (
          select id from outbox
          where dead_at is null and held = t.held and creator = t.creator
            and next_attempt_at <= statement_timestamp()
          order by next_attempt_at limit 1 for update skip locked) due
        limit ${limit}
      ), more as (
        select due.id
        from in_turn t cross join lateral (
          select id from outbox
          where dead_at is null and held = t.held and creator = t.creator
            and next_attempt_at <= statement_timestamp()
          order by next_attempt_at limit ${limit} for update skip locked) due
        where due.id not in (select id from in_turn)
        limit greatest(0, ${limit} - (select count(*) from in_turn))
      ), claimed as (
        update outbox o set
          attempts = attempts + 1,
          next_attempt_at = clock_timestamp() + ${`${leaseMs} ms`}::interval
        from (select id from in_turn union all select id from more) due
        where o.id = due.id
        returning o.id, o.payload, o.attempts, o.deferrals,
          (extract(epoch from clock_timestamp() - o.created_at) * 1000)::bigint age_ms
      ), ending as (
        select case when (select count(*) from in_turn) = ${limit}
          then (select jsonb_build_object('held', held, 'creator', creator)
            from in_turn order by held desc, creator desc limit 1)
          else (select jsonb_build_object('held', held, 'creator', creator)
            from turns where visited = ${maxVisited})
          end as next
      )
      select claimed.*, ending.next from ending left join claimed on true`,
  )
  return { events: rows.filter((row) => row.id !== null), next: rows[0]?.next ?? null }
}

export async function deleteEvent(db: Database, id: string) {
  await db.query('delete from outbox where id = $1', [id])
}

/** An update counts only while its claim holds: `attempts` distinguishes it from a later claim. */
type Claim = Pick<ClaimedEvent, 'id' | 'attempts'>
const claimHolds = 'id = $1 and attempts = $2'

type Postponement = { delayMs: number; error: string; throttled: boolean }

/** `throttled`: the event waits only for a throttled channel, and the attempt does not count. */
export async function postponeEvent(db: Database, claim: Claim, { delayMs, error, throttled }: Postponement) {
  await db.query(
    `update outbox set last_error = $3, held = $4, deferrals = deferrals + $4::boolean::int,
      next_attempt_at = clock_timestamp() + $5::float8 * interval '1 ms'
    where ${claimHolds}`,
    [claim.id, claim.attempts, error, throttled, delayMs],
  )
}

export async function markDead(db: Database, claim: Claim, error: string) {
  await db.query(`update outbox set last_error = $3, dead_at = now() where ${claimHolds}`, [
    ...[claim.id, claim.attempts, error],
  ])
}
