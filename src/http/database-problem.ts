/** The problem for a database that cannot be used: in general words, with a Retry-After. */

import { type Problem, unavailable } from '../core/problem.ts'
import { DatabaseUnavailableError, type DeadlineError, type UnavailableReason } from '../ports/database.ts'

const answers: Record<UnavailableReason, { detail: string; retryAfterSeconds: number }> = {
  away: { detail: 'The database is away at the moment.', retryAfterSeconds: 1 },
  refused: { detail: 'The database does not let this service in.', retryAfterSeconds: 30 },
  crowded: { detail: 'The database takes no more connections at the moment.', retryAfterSeconds: 2 },
  full: { detail: 'The database has no room left on its disk.', retryAfterSeconds: 60 },
  'read only': { detail: 'The database is read-only at the moment.', retryAfterSeconds: 10 },
  'shared memory': { detail: 'The database has no memory left for this request.', retryAfterSeconds: 5 },
  exhausted: { detail: 'The database has no memory left for this request.', retryAfterSeconds: 5 },
  contended: { detail: 'Too many requests change the same at the moment.', retryAfterSeconds: 1 },
  unmigrated: { detail: 'The database is not prepared for this version yet.', retryAfterSeconds: 30 },
}

export function databaseProblem(error: DatabaseUnavailableError | DeadlineError): Problem {
  if (!(error instanceof DatabaseUnavailableError))
    return unavailable('The database did not answer in time.', 1)
  const { detail, retryAfterSeconds } = answers[error.reason]
  return unavailable(detail, retryAfterSeconds)
}
