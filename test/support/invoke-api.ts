/** The Invoke API with a function of the test. */
import { createLogger } from '../../src/core/log.ts'
import { createExecution, type Execution } from '../../workers/lambda/execution.ts'
import { createInvokeApi } from '../../workers/lambda/invoke-api.ts'
import type { LambdaFunction } from '../../workers/lambda/lambda-function.ts'

export const credentials = { accessKeyId: 'AKEXAMPLE', secretAccessKey: 'secret' }

type Options = { timeoutMs?: number; concurrency?: number }

/** `lines` are its log lines. */
export function createTestExecution(
  handler: LambdaFunction,
  { timeoutMs = 10_000, concurrency = 100 }: Options = {},
) {
  const lines: Record<string, unknown>[] = []
  const log = createLogger('debug', (line) => lines.push(JSON.parse(line)))
  const execution = createExecution({
    load: () => handler,
    functionName: 'task-notifier',
    concurrency,
    timeoutMs,
    log,
  })
  return { execution, log, lines }
}

export function createTestApi(handler: LambdaFunction, options: Options = {}) {
  const { execution, log, lines } = createTestExecution(handler, options)
  return { app: createApiOver(execution, { log }), lines }
}

export const createApiOver = (
  execution: Execution,
  options: Pick<Parameters<typeof createInvokeApi>[0], 'log' | 'queue'>,
) => createInvokeApi({ execution, credentials, region: 'us-east-1', ...options })
