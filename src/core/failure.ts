/** Describes errors with their causes: the reason is often several levels below the error that was thrown. */

/** Bounds the size of a log line, and causes that form a cycle. */
const limits = { depth: 6, members: 8, characters: 2000 }

/** Returns one line: message and code of the error, then of its causes. */
export const describeFailure = (error: unknown) => inOneLine([error, ...causesOf(error)])

/** Returns the same without the error itself. Empty without causes. */
export const describeCauses = (error: unknown) => inOneLine(causesOf(error))

/** Returns the first code among the error and its causes, such as a SQLSTATE or ECONNREFUSED. */
export const codeOf = (error: unknown) =>
  [error, ...causesOf(error)].map(ownCode).find((code) => code !== undefined)

/** The `cause` and the members of an AggregateError, each followed by its own causes. */
function causesOf(error: unknown, depth = 0): unknown[] {
  if (!(error instanceof Error) || depth === limits.depth) return []
  const members: unknown[] = error instanceof AggregateError ? error.errors.slice(0, limits.members) : []
  const causes = error.cause === undefined || error.cause === null ? members : [error.cause, ...members]
  return causes.flatMap((cause) => [cause, ...causesOf(cause, depth + 1)])
}

const inOneLine = (errors: unknown[]) =>
  errors.map(describeOne).filter(Boolean).join(': ').slice(0, limits.characters)

/** Empty for an AggregateError without a message of its own. */
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
