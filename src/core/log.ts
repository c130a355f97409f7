/** Structured logging: one JSON object a line, on standard output on every runtime. */

import { codeOf, describeCauses } from './failure.ts'
import { escapeInvisible } from './plain-text.ts'

export const logLevels = ['debug', 'info', 'warn', 'error', 'silent'] as const
export type LogLevel = (typeof logLevels)[number]

type LogFields = Record<string, unknown>
type LogMethod = (message: string, fields?: LogFields) => void

export type Logger = Record<Exclude<LogLevel, 'silent'>, LogMethod>

/** Drops lines below `level`. Callers never pass a token, a password or a task's text. */
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

/** Also escapes characters that JSON keeps and a terminal would act on. */
export const jsonLine = (fields: LogFields) => escapeInvisible(JSON.stringify(fields))

/** Log fields of a thrown value, with the code and the messages of its causes, which clients never see. */
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

/** Errors from settings, services or time limits: a stack would say nothing. */
const isExpected = (error: Error) => 'isExpected' in error && error.isExpected === true
