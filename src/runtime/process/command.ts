/** Runs a command of an operator: reads its arguments, prints its table, says in one line why it failed. */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { codeOf, describeFailure } from '../../core/failure.ts'
import { oneLine } from '../../core/plain-text.ts'
import { Problem } from '../../core/problem.ts'
import { StartError } from '../../core/start-error.ts'
import { DatabaseUnavailableError, DeadlineError } from '../../ports/database.ts'
import { runAnswering } from './output.ts'

type Options = NonNullable<ParseArgsConfig['options']>
type Parsed<O extends Options> = ReturnType<
  typeof parseArgs<{ options: O; allowPositionals: true; strict: true }>
>

type Command<O extends Options> = {
  /** Under `npm run`. */
  name: string
  /** Printed for --help. */
  help: string
  options?: O
  /** How many positional arguments it takes at most; 0 by default. */
  positionals?: number
  run(values: Parsed<O>['values'], positionals: string[], env: NodeJS.ProcessEnv): Promise<void>
}

/** Arguments that a command does not take: the message ends with where to read about them. */
export class UsageError extends Error {
  override name = 'UsageError'
}

/** Runs the command to its end. Errors are printed in one line on standard error, and the exit code is 1. */
export function runCommand<const O extends Options>(command: Command<O>) {
  const { name, help, run } = command
  async function work() {
    const { values, positionals } = readArguments(command, process.argv.slice(2))
    if ('help' in values) console.log(help)
    else await run(values, positionals, process.env)
  }
  runAnswering(work, (error) => describe(error, name))
}

function readArguments<O extends Options>({ options, positionals = 0 }: Command<O>, args: string[]) {
  const all = { ...options, help: { type: 'boolean', short: 'h' } } as unknown as O
  let parsed: Parsed<O>
  try {
    parsed = parseArgs({ args, options: all, allowPositionals: true, strict: true })
  } catch (error) {
    // The rest of the message is about positional arguments that look like options.
    throw new UsageError(String(error instanceof Error ? error.message : error).split('. ')[0])
  }
  const extra = parsed.positionals[positionals]
  if (extra !== undefined && !('help' in parsed.values)) throw new UsageError(`unknown argument "${extra}"`)
  return parsed
}

function describe(error: unknown, name: string): unknown {
  if (error instanceof UsageError) return `${error.message}: see npm run ${name} -- --help`
  if (error instanceof StartError) return error.message
  if (error instanceof Problem) return describeProblem(error)
  if (error instanceof DatabaseUnavailableError || error instanceof DeadlineError || codeOf(error))
    return `cannot use the database: ${describeFailure(error)}`
  // Anything else is a fault of ours and keeps its stack.
  return error
}

const describeProblem = ({ message, options: { errors = [] } }: Problem) =>
  [message, ...errors.map(({ detail }) => detail)].join(' ')

/** Columns as wide as their widest cell. Users may have written the text of a cell: it stays one line. */
export function formatTable(cells: string[][]): string {
  const rows = cells.map((row) => row.map(oneLine))
  const widthOf = (column: number) => Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const widths = (rows[0] ?? []).map((_, column) => widthOf(column))
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => line.trimEnd())
    .join('\n')
}
