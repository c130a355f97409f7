/** The caller of a request: the user and the session that its access token names. */
import type { Row } from 'postgres'
import type { Database, SqlValue, TextOptions } from '../ports/database.ts'

export type Caller = { userId: number; sessionId: number }

/** The caller's session has ended, or the account is gone. The statement that found it changed nothing. */
export class SessionEnded extends Error {
  override name = 'SessionEnded'
}

/** Condition on `sessions s`: the caller's session has not ended. `$1` is its id and `$2` the user's. */
export const isLive = 's.id = $1 and s.user_id = $2 and s.ended_at is null'

/** Condition on `sessions s` that always holds. It tells the triggers who acts, for this transaction only. */
export const tellsActor = "set_config('task_api.user_id', s.user_id::text, true) is not null"

/** CTE of statements that write: `caller` has one row, with `user_id`, unless the session has ended. */
export const actingCaller = `
  caller as materialized (
    select s.user_id from sessions s where ${isLive} and ${tellsActor}
  )`

/**
 * Runs a statement for the caller. Its text answers no row exactly when the session has ended; `$1` and `$2`
 * are as in `isLive`, and `values` begin at `$3`.
 * @throws SessionEnded
 */
export async function queryAs<R extends Row>(
  db: Database,
  { sessionId, userId }: Caller,
  text: string,
  values: readonly SqlValue[] = [],
  options?: TextOptions,
): Promise<[R, ...R[]]> {
  const rows = await db.query<R>(text, [sessionId, userId, ...values], options)
  if (!hasRow(rows)) throw new SessionEnded()
  return rows
}

const hasRow = <R>(rows: R[]): rows is [R, ...R[]] => rows.length > 0

/** @throws SessionEnded */
export async function checkSession(db: Database, caller: Caller): Promise<void> {
  await queryAs(db, caller, `select from sessions s where ${isLive}`, [], { read: true, brief: true })
}
