/** Runs the function in environments, keeps it warm, and remembers the latest invocations. */
import { parseFunctionName } from '../../src/core/lambda-function-name.ts'
import type { Logger } from '../../src/core/log.ts'
import { createEnvironments } from './environments.ts'
import { type Invocation, type Loaded, type Outcome, runFunction } from './invocation.ts'
import type { LambdaFunction } from './lambda-function.ts'

type FunctionCall = Pick<Invocation, 'event' | 'arn' | 'requestId' | 'clientContext'> & {
  type: 'RequestResponse' | 'Event'
  /** From 1; more for the retry of an Event. */
  attempt: number
}

export type RecentInvocation = {
  request_id: string
  type: FunctionCall['type']
  attempt: number
  started_at: string
  duration_ms: number
  error: string | null
  log_tail: string
}

export type Execution = ReturnType<typeof createExecution>

type Options = {
  /** The init phase. Runs at the first invocation, and at the next one if it throws. */
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

/** Added to the function's time-out, after which an environment counts as lost. */
const reserveMs = 1000
const remembered = 100

/** @throws Error when `functionName` is malformed */
export function createExecution({ load, concurrency, timeoutMs, now = Date.now, log, ...options }: Options) {
  const functionName = parseFunctionName(options.functionName)?.name
  if (functionName === undefined)
    throw new Error(`not the name of a Lambda function: ${options.functionName}`)
  const environments = createEnvironments({ concurrency, longestMs: timeoutMs + reserveMs, now })
  const recent: RecentInvocation[] = []
  let warm: LambdaFunction | undefined

  function loadOnce(): Loaded {
    if (warm) return { run: warm }
    const startedAt = performance.now()
    warm = load()
    return { run: warm, initMs: performance.now() - startedAt }
  }

  return {
    functionName,
    /** Returns undefined when all environments are busy and nothing was run. */
    async run({ type, attempt, ...call }: FunctionCall) {
      const environment = environments.acquire()
      if (!environment) return undefined
      const startedAt = new Date(now()).toISOString()
      let outcome: Outcome | undefined
      try {
        outcome = await runFunction(loadOnce, { ...call, ...environment, functionName, timeoutMs, now, log })
      } finally {
        environments.release(environment, { broken: outcome?.error?.timedOut ?? !outcome })
      }
      recent.unshift({
        request_id: call.requestId,
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
    /** The newest first. */
    recent: () => [...recent],
  }
}
