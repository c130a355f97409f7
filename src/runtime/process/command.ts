/** What commands for an operator have in common: how they read arguments, find the database, and end. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import postgres from 'postgres'
import { type Config, readConfig } from '../../config/api.ts'
import { codeOf, describeFailure } from '../../core/failure.ts'
import { oneLine } from '../../core/plain-text.ts'
import { Problem } from '../../core/problem.ts'
import { StartError } from '../../core/start-error.ts'
import { type Database, DatabaseUnavailableError, DeadlineError } from '../../ports/database.ts'
import { findOperatorDatabase } from '../postgres/operator-database.ts'
import { createDatabase } from '../postgres/postgres.ts'
import { runAnswering } from './output.ts'

const packageRoot = fileURLToPath(new URL('..', import.meta.url))
const statementTimeoutMs = 60_000

/** Runs a command to its end. Whatever it throws is told in one line on standard error, with exit code 1. */
export function runCommand(work: (args: string[], env: NodeJS.ProcessEnv) => Promise<void>) {
  runAnswering(() => work(process.argv.slice(2), process.env), describe)
}

function describe(error: unknown): unknown {
  if (error instanceof StartError) return error.message
  if (error instanceof Problem) return describeProblem(error)
  if (error instanceof DatabaseUnavailableError || error instanceof DeadlineError || codeOf(error))
    return `cannot use the database: ${describeFailure(error)}`
  // Anything else is a fault of ours and keeps its stack.
  return error
}

const describeProblem = ({ message, options: { errors = [] } }: Problem) =>
  [message, ...errors.map(({ detail }) => detail)].join(' ')

type Options = NonNullable<ParseArgsConfig['options']>

/**
 * @param command its name under `npm run`
 * @throws StartError that names an argument it does not know
 */
export function readArguments<O extends Options>(command: string, args: string[], options: O) {
  try {
    return parseArgs({ args, options, allowPositionals: true, strict: true })
  } catch (error) {
    // The rest of the message is about positional arguments that look like options.
    const problem = error instanceof Error ? error.message.split('. ')[0] : String(error)
    throw wrongUsage(command, problem ?? '')
  }
}

export const wrongUsage = (command: string, problem: string) =>
  new StartError(`${problem}: see npm run ${command} -- --help`)

/** The database and the settings of the service that the environment describes. @throws StartError when there is none */
export async function withDatabase(
  env: NodeJS.ProcessEnv,
  work: (db: Database, config: Config) => Promise<void>,
) {
  const config = readConfig(env)
  const options = await findOperatorDatabase({
    databaseUrl: config.databaseUrl,
    databaseCa: config.databaseCa,
    dataDirectory: resolve(config.dataDirectory),
    packageRoot,
  })
  const database = createDatabase((own) => postgres({ ...options, ...own }), {
    poolSize: 1,
    timeoutMs: statementTimeoutMs,
  })
  try {
    await work(database, config)
  } finally {
    await database.close()
  }
}

/** Columns as wide as their widest cell. Users and other programs may have written what is in it: each cell stays one. */
export function formatTable(cells: string[][]): string {
  const rows = cells.map((row) => row.map(oneLine))
  const widths = rows.reduce<number[]>(
    (known, row) => row.map((cell, i) => Math.max(cell.length, known[i] ?? 0)),
    [],
  )
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
