/** Meanings of errors by SQLSTATE, since the server's texts are in its own language. */
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

/** Undefined for an error of the statement itself. */
export function unavailableReason(error: unknown): UnavailableReason | undefined {
  if (!(error instanceof postgres.PostgresError)) return undefined
  // Shared memory of parallel plans is a file of this name; a full disk has the same code.
  if (error.code === '53100' && error.message.includes('"/PostgreSQL.')) return 'shared memory'
  return reasons.find(([pattern]) => pattern.test(error.code))?.[1]
}

/** For a connection that could not be made, or broke; the cause is the server's error, or the system's. */
export function toUnavailable(cause: unknown): Error {
  if (cause instanceof DeadlineError) return cause
  return new DatabaseUnavailableError(unavailableReason(cause) ?? 'away', cause)
}
