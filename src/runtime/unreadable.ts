/** What is said of a request that never reached the app, and so has no id yet. */
import { Problem, type ProblemStatus, problemMediaType } from '../problem.ts'

export function unreadable(status: ProblemStatus) {
  const requestId = crypto.randomUUID()
  const problem = new Problem(status, 'This is not an HTTP request that can be answered.')
  const body = JSON.stringify({ ...problem.toJSON(), request_id: requestId })
  return { body, headers: { 'Content-Type': problemMediaType, 'X-Request-Id': requestId } }
}
