/** Errors in words, down to the last cause: the reason is often several levels below what was thrown. */

/** Bounds what a log line takes, and a cause that leads back to itself. */
const limits = { depth: 6, members: 8, characters: 2000 }

/** One line: message and code of the error, then of all that caused it. */
export const describeFailure = (error: unknown) => inOneLine([error, ...causesOf(error)])

/** The same without the error itself; empty when nothing caused it. */
export const describeCauses = (error: unknown) => inOneLine(causesOf(error))

/** The code nearest to the top, such as a SQLSTATE or ECONNREFUSED. */
export const codeOf = (error: unknown) =>
  [error, ...causesOf(error)].map(ownCode).find((code) => code !== undefined)

/** The nearest first: its `cause`, and the members of an AggregateError; then theirs. */
function causesOf(error: unknown, depth = 0): unknown[] {
  if (!(error instanceof Error) || depth === limits.depth) return []
  const members: unknown[] = error instanceof AggregateError ? error.errors.slice(0, limits.members) : []
  const causes = error.cause === undefined || error.cause === null ? members : [error.cause, ...members]
  return causes.flatMap((cause) => [cause, ...causesOf(cause, depth + 1)])
}

const inOneLine = (errors: unknown[]) =>
  errors.map(describeOne).filter(Boolean).join(': ').slice(0, limits.characters)

/** Empty for an error that only holds others. */
function describeOne(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error instanceof AggregateError && !error.message) return ''
  const message = (error.message || error.name).replace(/\s+/g, ' ').trim()
  const code = ownCode(error)
  return code === undefined || message.includes(code) ? message : `${message} (${code})`
}

function ownCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && error.code ? String(error.code) : undefined
}
