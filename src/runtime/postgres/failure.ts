/** Meanings of postgres.js' errors, by SQLSTATE: the texts are in the server's language. */
import postgres from 'postgres'
import { DatabaseUnavailableError, DeadlineError, type UnavailableReason } from '../../ports/database.ts'

const reasons: [pattern: RegExp, reason: UnavailableReason][] = [
  // too_many_connections; others of its class follow.
  [/^53300$/, 'crowded'],
  [/^53100$/, 'full'],
  [/^53/, 'exhausted'],
  // read_only_sql_transaction
  [/^25006$/, 'read only'],
  // invalid_authorization_specification, invalid_password, invalid_catalog_name
  [/^(28...|3D000)$/, 'refused'],
  // serialization_failure, deadlock_detected, lock_not_available
  [/^(40001|40P01|55P03)$/, 'contended'],
  // undefined_table, undefined_column, undefined_function, invalid_schema_name
  [/^(42P01|42703|42883|3F000)$/, 'unmigrated'],
]

/** Undefined for an error that is the statement's own. */
export function unavailableReason(error: unknown): UnavailableReason | undefined {
  if (!(error instanceof postgres.PostgresError)) return undefined
  // Parallel plans share memory through files of this name; on a full disk the code is the same.
  if (error.code === '53100' && error.message.includes('"/PostgreSQL.')) return 'shared memory'
  return reasons.find(([pattern]) => pattern.test(error.code))?.[1]
}

/** For a connection that could not be made, or broke; the cause is the server's own word, or the system's. */
export function unavailable(cause: unknown): Error {
  if (cause instanceof DeadlineError) return cause
  return new DatabaseUnavailableError(unavailableReason(cause) ?? 'away', cause)
}
