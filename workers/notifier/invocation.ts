/** One run of a Lambda function as AWS's Node runtime does it: the context it gets, what becomes of its result or error. */
import { errorFields, type Logger } from '../../src/log.ts'
import type { LambdaContext } from './handler.ts'

export type LambdaFunction = (event: unknown, context: LambdaContext) => Promise<unknown>

export type Outcome = {
  /** JSON: what the function returned, or AWS's error object. */
  payload: string
  failed: boolean
}

type Invocation = {
  arn: string
  functionName: string
  requestId: string
  clientContext: unknown
  timeoutMs: number
  now: () => number
  log: Logger
}

/** Never rejects: an error of the function is an outcome. After `timeoutMs` the function runs on, but nobody waits for it. */
export async function runFunction(
  run: LambdaFunction,
  event: unknown,
  invocation: Invocation,
): Promise<Outcome> {
  const { requestId, timeoutMs, log } = invocation
  let timer: ReturnType<typeof setTimeout> | undefined
  const timeout = new Promise<'timed out'>((resolve) => {
    timer = setTimeout(resolve, timeoutMs, 'timed out')
  })
  const finished = (async () => JSON.stringify((await run(event, createContext(invocation))) ?? null))()
  try {
    const payload = await Promise.race([finished, timeout])
    if (payload !== 'timed out') return { payload, failed: false }
    const error = `Task timed out after ${(timeoutMs / 1000).toFixed(2)} seconds`
    log.error('invocation failed', { request_id: requestId, error })
    return errorOutcome('Sandbox.Timedout', `RequestId: ${requestId} Error: ${error}`)
  } catch (error) {
    log.error('invocation failed', { request_id: requestId, ...errorFields(error) })
    if (!(error instanceof Error)) return errorOutcome(typeof error, String(error))
    return errorOutcome(error.name, error.message, error.stack?.split('\n') ?? [])
  } finally {
    clearTimeout(timer)
  }
}

function errorOutcome(errorType: string, errorMessage: string, trace?: string[]): Outcome {
  return { payload: JSON.stringify({ errorType, errorMessage, ...(trace && { trace }) }), failed: true }
}

function createContext({
  arn,
  functionName,
  requestId,
  clientContext,
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
    logStreamName: `${new Date(now()).toISOString().slice(0, 10).replaceAll('-', '/')}/[$LATEST]${functionName}`,
    identity: undefined,
    clientContext,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => Math.max(0, deadline - now()),
  }
}
