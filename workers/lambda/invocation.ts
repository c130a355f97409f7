/** One run of a Lambda function as AWS's Node runtime does it: the context it gets, what becomes of its result or error. */
import { errorFields, type Logger } from '../../src/core/log.ts'
import type { LambdaContext } from '../notifier/handler.ts'
import { createPrinted, type Printed, printingTo } from './log-capture.ts'

export type LambdaFunction = (event: unknown, context: LambdaContext) => Promise<unknown>

/** The function, and how long its init phase took when this call of `load` was the one to run it. */
export type Loaded = { run: LambdaFunction; initMs?: number }

export type Outcome = {
  /** JSON: what the function returned, or AWS's error object. */
  payload: string
  /** Set when the function failed. */
  error?: { type: string; message: string; timedOut: boolean }
  durationMs: number
  /** UTF-8: the last 4 KB of what was printed, between AWS's START, END and REPORT lines. */
  logTail: Uint8Array<ArrayBuffer>
}

export type Invocation = {
  arn: string
  functionName: string
  requestId: string
  clientContext: unknown
  logStreamName: string
  timeoutMs: number
  now: () => number
  log: Logger
}

/** AWS's limit of what a function may return, in bytes: 6 MB and a little. */
const maxResponse = 6_291_556

/**
 * Gets the function by `load` and runs it. Never rejects: an error of either is an outcome. After `timeoutMs` the function runs
 * on, but nobody waits for it.
 */
export async function runFunction(
  load: () => Loaded,
  event: unknown,
  invocation: Invocation,
): Promise<Outcome> {
  const { requestId, log } = invocation
  const printed = createPrinted()
  printed.add(`START RequestId: ${requestId} Version: $LATEST`)
  const begun = performance.now()
  const result = await printingTo(printed, async () => {
    const result = await settle(load, event, invocation)
    if (result.error) log.error('invocation failed', { request_id: requestId, ...result.logged })
    return result
  })
  const durationMs = performance.now() - begun
  report(printed, requestId, durationMs, result)
  const { payload, error } = result
  return { payload, ...(error && { error }), durationMs, logTail: printed.tail() }
}

type Result = Pick<Outcome, 'payload' | 'error'> & { logged?: Record<string, unknown>; initMs?: number }

async function settle(load: () => Loaded, event: unknown, invocation: Invocation): Promise<Result> {
  const { requestId, timeoutMs } = invocation
  let initMs: { initMs?: number } = {}
  let timer: ReturnType<typeof setTimeout> | undefined
  const timeout = new Promise<'timed out'>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, 'timed out')
  })
  async function finish() {
    const loaded = load()
    if (loaded.initMs !== undefined) initMs = { initMs: loaded.initMs }
    return JSON.stringify(await loaded.run(event, createContext(invocation))) ?? 'null'
  }
  try {
    const payload = await Promise.race([finish(), timeout])
    if (payload === 'timed out') {
      const message = `Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`
      const error = { type: 'Sandbox.Timedout', message: `RequestId: ${requestId} Error: ${message}` }
      return failure({ ...error, timedOut: true }, { error: message })
    }
    const bytes = new TextEncoder().encode(payload).length
    if (bytes <= maxResponse) return { payload, ...initMs }
    const message = `Response payload size (${bytes} bytes) exceeded maximum allowed payload size (${maxResponse} bytes).`
    return failure({ type: 'Function.ResponseSizeTooLarge', message, timedOut: false }, { error: message })
  } catch (error) {
    if (!(error instanceof Error)) {
      const message = textOf(error)
      return failure({ type: typeof error, message, timedOut: false }, { error: message })
    }
    const logged = errorFields(error)
    const trace = error.stack?.split('\n') ?? []
    return failure({ type: error.name, message: error.message, timedOut: false }, logged, trace)
  } finally {
    clearTimeout(timer)
  }
}

/** Of what was thrown and is no error; not everything lets itself be turned into text. */
function textOf(thrown: unknown) {
  try {
    return String(thrown)
  } catch {
    return Object.prototype.toString.call(thrown)
  }
}

function failure(
  error: NonNullable<Outcome['error']>,
  logged: Record<string, unknown>,
  trace?: string[],
): Result {
  const payload = { errorType: error.type, errorMessage: error.message, ...(trace && { trace }) }
  return { payload: JSON.stringify(payload), error, logged }
}

/** AWS's lines, without the fields on money and memory, which nobody measures here. */
function report(printed: Printed, requestId: string, durationMs: number, { error, initMs }: Result) {
  const fields = [`REPORT RequestId: ${requestId}`, `Duration: ${durationMs.toFixed(2)} ms`]
  if (initMs !== undefined) fields.push(`Init Duration: ${initMs.toFixed(2)} ms`)
  if (error?.timedOut) fields.push('Status: timeout')
  else if (error) fields.push('Status: error', `Error Type: ${error.type}`)
  printed.add(`END RequestId: ${requestId}`)
  printed.add(fields.join('\t'))
}

function createContext({
  arn,
  functionName,
  requestId,
  clientContext,
  logStreamName,
  timeoutMs,
  now,
}: Invocation): LambdaContext {
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
