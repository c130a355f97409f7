/** A reason not to start that a person can act on: entries print `message` as one line and exit with 1. */
export class StartError extends Error {
  override name = 'StartError'
  readonly isExpected = true
}
