/** A reason not to start that an operator can act on. Entries print its message and exit with 1. */
export class StartError extends Error {
  override name = 'StartError'
  readonly isExpected = true
}
