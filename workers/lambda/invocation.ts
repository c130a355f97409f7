/** One run of a function as AWS's Node runtime does it: its context, and its result or error. */
import { errorFields, type Logger } from '../../src/core/log.ts'
import { settleWithin } from '../../src/core/timeout.ts'
import type { LambdaContext, LambdaFunction } from './lambda-function.ts'
import { captureLogs, createLogCapture, type LogCapture } from './log-capture.ts'

/** `initMs` is the duration of the init phase, if this call of `load` ran it. */
export type Loaded = { run: LambdaFunction; initMs?: number }

export type FunctionError = { type: string; message: string; timedOut: boolean }

export type Outcome = {
  /** JSON: what the function returned, or AWS's error object. */
  payload: string
  /** Set when the function failed. */
  error?: FunctionError
  durationMs: number
  /** UTF-8: the last 4 KB of the output, with AWS's START, END and REPORT lines. */
  logTail: Uint8Array<ArrayBuffer>
}

export type Invocation = {
  event: unknown
  arn: string
  functionName: string
  requestId: string
  clientContext?: unknown
  logStreamName: string
  timeoutMs: number
  now: () => number
  log: Logger
}

/** AWS's limit of a result: 6 MB and a little, in bytes. */
const maxResponse = 6_291_556

/**
 * Never rejects: an error is an outcome. After `timeoutMs` the function runs on, but its result is ignored.
 */
export async function runFunction(load: () => Loaded, invocation: Invocation): Promise<Outcome> {
  const { requestId, log } = invocation
  const capture = createLogCapture()
  capture.add(`START RequestId: ${requestId} Version: $LATEST`)
  const startedAt = performance.now()
  const result = await captureLogs(capture, async () => {
    const result = await settle(load, invocation)
    if (result.error) log.error('invocation failed', { request_id: requestId, ...result.logged })
    return result
  })
  const durationMs = performance.now() - startedAt
  report(capture, requestId, durationMs, result)
  const { payload, error } = result
  return { payload, ...(error && { error }), durationMs, logTail: capture.tail() }
}

type Result = Pick<Outcome, 'payload' | 'error'> & { logged?: Record<string, unknown>; initMs?: number }

async function settle(load: () => Loaded, invocation: Invocation): Promise<Result> {
  const { requestId, timeoutMs, event } = invocation
  let initMs: number | undefined
  async function finish() {
    const loaded = load()
    initMs = loaded.initMs
    return JSON.stringify(await loaded.run(event, createContext(invocation))) ?? 'null'
  }
  try {
    const payload = await settleWithin(timeoutMs, finish())
    if (payload === undefined) {
      const message = `Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`
      const error = { type: 'Sandbox.Timedout', message: `RequestId: ${requestId} Error: ${message}` }
      return failure({ ...error, timedOut: true }, { error: message })
    }
    const bytes = new TextEncoder().encode(payload).length
    if (bytes <= maxResponse) return { payload, ...(initMs !== undefined && { initMs }) }
    const message = `Response payload size (${bytes} bytes) exceeded maximum allowed payload size (${maxResponse} bytes).`
    return failure({ type: 'Function.ResponseSizeTooLarge', message, timedOut: false }, { error: message })
  } catch (error) {
    if (!(error instanceof Error)) {
      const message = toText(error)
      return failure({ type: typeof error, message, timedOut: false }, { error: message })
    }
    const trace = error.stack?.split('\n') ?? []
    return failure({ type: error.name, message: error.message, timedOut: false }, errorFields(error), trace)
  }
}

/** `String` throws for some values, such as an object without a prototype. */
function toText(thrown: unknown) {
  try {
    return String(thrown)
  } catch {
    return Object.prototype.toString.call(thrown)
  }
}

function failure(error: FunctionError, logged: Record<string, unknown>, trace?: string[]): Result {
  const payload = { errorType: error.type, errorMessage: error.message, ...(trace && { trace }) }
  return { payload: JSON.stringify(payload), error, logged }
}

/** AWS's last lines, without the fields on cost and memory, which are not measured. */
function report(capture: LogCapture, requestId: string, durationMs: number, { error, initMs }: Result) {
  const fields = [`REPORT RequestId: ${requestId}`, `Duration: ${durationMs.toFixed(2)} ms`]
  if (initMs !== undefined) fields.push(`Init Duration: ${initMs.toFixed(2)} ms`)
  if (error?.timedOut) fields.push('Status: timeout')
  else if (error) fields.push('Status: error', `Error Type: ${error.type}`)
  capture.add(`END RequestId: ${requestId}`)
  capture.add(fields.join('\t'))
}

function createContext(invocation: Invocation): LambdaContext {
  const { arn, functionName, requestId, clientContext, logStreamName, timeoutMs, now } = invocation
  const deadline = now() + timeoutMs
  return {
    functionName,
    functionVersion: '$LATEST',
    invokedFunctionArn: arn,
    memoryLimitInMB: '128',
    awsRequestId: requestId,
    logGroupName: `/aws/lambda/${functionName}`,
    logStreamName,
    identity: undefined,
    clientContext,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - now()),
  }
}
