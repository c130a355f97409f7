/** Maps every error of a request to its problem document (RFC 9457). */
import { HTTPException } from 'hono/http-exception'
import postgres from 'postgres'
import { SessionEnded } from '../auth/caller.ts'
import { errorFields } from '../core/log.ts'
import { Problem, problemMediaType, unavailable } from '../core/problem.ts'
import { DatabaseBusyError, DatabaseUnavailableError, DeadlineError } from '../ports/database.ts'
import { HasherBusyError } from '../ports/passwords.ts'
import type { Answer } from './answer.ts'
import { rejectSession } from './authenticate.ts'
import { unauthorized } from './bearer.ts'
import { databaseProblem } from './database-problem.ts'
import type { Exchange } from './deps.ts'

export async function answerProblem(error: unknown, exchange: Exchange): Promise<Answer> {
  const problem = error instanceof SessionEnded ? await endedSession(exchange) : problemOf(error, exchange)
  return {
    status: problem.status,
    headers: { ...problem.options.headers, 'Content-Type': problemMediaType },
    body: JSON.stringify({ ...problem.toJSON(), request_id: exchange.requestId }),
  }
}

async function endedSession(exchange: Exchange): Promise<Problem> {
  try {
    await rejectSession(exchange)
    return unauthorized({ invalid: true })
  } catch (error) {
    return problemOf(error, exchange)
  }
}

function problemOf(error: unknown, { deps: { log }, requestId, route }: Exchange): Problem {
  if (error instanceof Problem) return error
  if (error instanceof HTTPException && error.status === 400) return new Problem(400, error.message)
  if (error instanceof HasherBusyError)
    return unavailable('Too many passwords are being checked at the moment.', 5)
  if (error instanceof DatabaseBusyError)
    return unavailable('Too many searches and counts are under way at the moment.', 2)
  // SQLSTATE class 22: a value that Postgres cannot hold, past all our checks.
  if (error instanceof postgres.PostgresError && error.code.startsWith('22'))
    return new Problem(400, 'The request has a value that cannot be used.')
  const fields = { request_id: requestId, route: route ?? null, ...errorFields(error) }
  if (error instanceof DeadlineError || error instanceof DatabaseUnavailableError) {
    log.warn('the database could not be used', fields)
    return databaseProblem(error)
  }
  log.error('request failed', fields)
  return new Problem(500, 'Something went wrong here; the request id finds it in the logs.')
}
