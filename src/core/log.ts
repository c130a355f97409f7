/** Structured logging: one JSON object a line, on standard output on every runtime. */

import { codeOf, describeCauses } from './failure.ts'
import { escapeInvisible } from './plain-text.ts'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

type LogFields = Record<string, unknown>
type LogMethod = (message: string, fields?: LogFields) => void

export type Logger = Record<Exclude<LogLevel, 'silent'>, LogMethod>

/** Lines below `level` are dropped; `common` is in all others. Callers never pass a token, a password or a task's text. */
export function createLogger(
  level: LogLevel,
  write: (line: string) => void = console.log,
  common: LogFields = {},
): Logger {
  const threshold = logLevels.indexOf(level)
  const method =
    (name: LogLevel): LogMethod =>
    (message, fields) => {
      if (logLevels.indexOf(name) < threshold) return
      write(jsonLine({ time: new Date().toISOString(), level: name, message, ...common, ...fields }))
    }
  return { debug: method('debug'), info: method('info'), warn: method('warn'), error: method('error') }
}

/** What JSON leaves as it is, and a terminal would act on, is escaped too. */
export const jsonLine = (fields: LogFields) => escapeInvisible(JSON.stringify(fields))

/**
 * An unknown thrown value as log fields, with the code and the messages of whatever caused it: they help an
 * operator, clients never see them. The stack is of use only where the fault may be ours.
 */
export function errorFields(error: unknown): LogFields {
  if (!(error instanceof Error)) return { error: String(error) }
  const cause = describeCauses(error)
  const code = codeOf(error)
  return {
    error: error.message,
    ...(code === undefined ? {} : { code }),
    ...(cause === '' ? {} : { cause }),
    ...(isExpected(error) ? {} : { stack: error.stack }),
  }
}

/** Errors about what the service depends on mark themselves so: the place in our code says nothing. */
const isExpected = (error: Error) => 'isExpected' in error && error.isExpected === true
