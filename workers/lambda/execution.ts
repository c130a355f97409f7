/** The function as something to call: an environment for each event, the function kept warm, what ran lately. */
import { parseFunctionName } from '../../src/core/lambda-function-name.ts'
import type { Logger } from '../../src/core/log.ts'
import { createEnvironments } from './environments.ts'
import { type LambdaFunction, type Loaded, type Outcome, runFunction } from './invocation.ts'

export type FunctionCall = {
  event: unknown
  /** As the function sees it. */
  arn: string
  requestId: string
  type: 'RequestResponse' | 'Event'
  /** From 1; more for an Event that is tried again. */
  attempt: number
  clientContext?: unknown
}

/** An invocation that has ended, for whoever looks into the notifier. */
export type RecentInvocation = {
  request_id: string
  type: FunctionCall['type']
  attempt: number
  started_at: string
  duration_ms: number
  error: string | null
  log_tail: string
}

export type Execution = {
  functionName: string
  /** Undefined when every environment is busy, and nothing was run. */
  run(call: FunctionCall): Promise<Outcome | undefined>
  /** How many more calls would find an environment. */
  free(): number
  /** The newest first. */
  recent(): RecentInvocation[]
}

type Options = {
  /** The init phase: called by the first invocation, and again by the next one when it throws. */
  load: () => LambdaFunction
  /** A name or an ARN; only the name in it counts. */
  functionName: string
  /** How many events may be handled at a time. */
  concurrency: number
  timeoutMs: number
  /** Milliseconds since the epoch. */
  now?: () => number
  log: Logger
}

/** What an environment is given beyond the function's time-out before it counts as lost. */
const sparedMs = 1000
const remembered = 100

/** @throws Error when `functionName` is none. */
export function createExecution({
  load,
  concurrency,
  timeoutMs,
  now = Date.now,
  log,
  ...options
}: Options): Execution {
  const functionName = parseFunctionName(options.functionName)?.name
  if (functionName === undefined)
    throw new Error(`not the name of a Lambda function: ${options.functionName}`)
  const environments = createEnvironments({ concurrency, longestMs: timeoutMs + sparedMs, now })
  const recent: RecentInvocation[] = []
  let warm: LambdaFunction | undefined

  function loadOnce(): Loaded {
    if (warm) return { run: warm }
    const begun = performance.now()
    warm = load()
    return { run: warm, initMs: performance.now() - begun }
  }

  return {
    functionName,
    async run({ event, arn, requestId, type, attempt, clientContext }) {
      const environment = environments.acquire()
      if (!environment) return undefined
      const { logStreamName } = environment
      const startedAt = new Date(now()).toISOString()
      const context = { arn, functionName, requestId, clientContext, logStreamName, timeoutMs, now, log }
      let broken = true
      let outcome: Outcome
      try {
        outcome = await runFunction(loadOnce, event, context)
        broken = outcome.error?.timedOut ?? false
      } finally {
        environments.release(environment, { broken })
      }
      recent.unshift({
        request_id: requestId,
        type,
        attempt,
        started_at: startedAt,
        duration_ms: Math.round(outcome.durationMs * 100) / 100,
        error: outcome.error ? `${outcome.error.type}: ${outcome.error.message}`.slice(0, 1000) : null,
        log_tail: new TextDecoder().decode(outcome.logTail),
      })
      recent.length = Math.min(recent.length, remembered)
      return outcome
    },
    free: environments.free,
    recent: () => [...recent],
  }
}
