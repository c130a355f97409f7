/** The notifier: an AWS Lambda handler for completion events, on AWS, on Node and on workerd alike. */

import { jsonLine } from '../../src/core/log.ts'
import { type CompletionEvent, parseCompletionEvent } from '../../src/outbox/completion-event.ts'
import { ChannelThrottledError } from '../../src/outbox/throttling.ts'
import { channelTimeoutMs } from '../../src/outbox/timing.ts'
import type { Channel } from './channel.ts'
import { openChannels } from './channels.ts'
import { StoppedError, ThrottledError } from './gate.ts'
import { readNotifications } from './settings.ts'

/** What AWS's Node runtime passes as second argument: https://docs.aws.amazon.com/lambda/latest/dg/nodejs-context.html */
export type LambdaContext = {
  functionName: string
  functionVersion: string
  invokedFunctionArn: string
  /** A string in AWS's Node runtime. */
  memoryLimitInMB: string
  awsRequestId: string
  logGroupName: string
  logStreamName: string
  identity?: unknown
  clientContext?: unknown
  callbackWaitsForEmptyEventLoop: boolean
  getRemainingTimeInMillis(): number
}

export type HandlerResult = {
  /** The event's id. */
  handled: string
  /** True when this process had handled the event before and did nothing now. */
  duplicate: boolean
  /** Names of the channels that have been stopped; left out when there are none. */
  stopped?: string[]
}

export type Handler = (event: unknown, context: LambdaContext) => Promise<HandlerResult>

type HandlerOptions = {
  /** Whom to tell of each event; none: only the log tells of it. */
  channels?: Channel[]
  /** What each of them gets; all are told at the same time. */
  timeoutMs?: number
  /** How many event ids are remembered, the newest ones. */
  remembered?: number
  /** Gets one JSON line for each event, whatever becomes of the channels. */
  log?: (line: string) => void
}

/** What this process knows of an event. */
type Progress = {
  /** Names of the channels that need not be told again. */
  told: Set<string>
  /** Names of those that were stopped before they had been told. */
  stopped: Set<string>
  /** Whether its line is in the log. */
  logged: boolean
  /** Under way, or done. */
  attempt?: Promise<void> | undefined
  /** From when on, in ms since the epoch, one that is under way counts as lost: workerd drops it without a word when its caller hangs up. */
  lostAt: number
}

/** Names the channels that failed, and why; and those that will not be told again. */
class NotificationError extends Error {
  override name = 'NotificationError'
}

/** Time kept back from the invocation's own time-out, so that a slow channel is reported as what it is. */
const reportMs = 250

export function createHandler({
  channels = [],
  timeoutMs = channelTimeoutMs,
  remembered = 10_000,
  log = console.log,
}: HandlerOptions = {}): Handler {
  // Delivery is at least once: the same event comes again when its caller didn't hear the answer, and when a channel failed.
  const known = new Map<string, Progress>()
  const knownStopped = new Set<string>()

  async function notify(progress: Progress, event: CompletionEvent, input: unknown, context: LambdaContext) {
    const { told, stopped } = progress
    const leftMs = Math.min(timeoutMs, context.getRemainingTimeInMillis() - reportMs)
    const message = { event, input, timeoutMs: Math.max(1, Math.floor(leftMs)) }
    const failures: string[] = []
    const throttled: { retryAfterMs: number; message: string }[] = []
    const telling = channels.map(async ({ name, tell }) => {
      if (told.has(name) || stopped.has(name)) return
      try {
        await tell(message)
        told.add(name)
      } catch (error) {
        if (error instanceof StoppedError) {
          stopped.add(name)
          tellOfStop(name, error)
        } else if (error instanceof ThrottledError) {
          throttled.push({ retryAfterMs: error.retryAfterMs, message: `${name} ${error.message}` })
        } else {
          failures.push(`${name} failed: ${error instanceof Error ? error.message : error}`)
        }
      }
    })
    await Promise.all(telling)
    // Once, and with a channel that fails as well: whoever reads the log hears of a task when it is completed.
    if (!progress.logged) log(jsonLine(logLine(event, context, progress)))
    progress.logged = true
    const problems = [...failures, ...throttled.map(({ message }) => message)]
    if (problems.length === 0) return
    const text = capitalised(
      [...problems, ...(told.size > 0 ? [`told: ${[...told].join(', ')}`] : [])].join('; '),
    )
    if (failures.length > 0) throw new NotificationError(text)
    throw new ChannelThrottledError(Math.min(...throttled.map(({ retryAfterMs }) => retryAfterMs)), text)
  }

  /** Said once: the events that follow name the channel in their own lines. */
  function tellOfStop(channel: string, { message }: StoppedError) {
    if (knownStopped.has(channel)) return
    knownStopped.add(channel)
    const advice = 'it gets no events before a restart: give it another address, or unset it'
    log(
      jsonLine({
        time: new Date().toISOString(),
        level: 'error',
        message: 'channel stopped',
        channel,
        reason: message,
        advice,
      }),
    )
  }

  function recall(id: string): Progress {
    const progress = known.get(id) ?? {
      told: new Set(),
      stopped: new Set(),
      logged: false,
      lostAt: Number.POSITIVE_INFINITY,
    }
    // A Map keeps the order of insertion: its first key is the one that has not come for longest.
    known.delete(id)
    known.set(id, progress)
    const [oldest] = known.keys()
    if (known.size > remembered && oldest !== undefined) known.delete(oldest)
    return progress
  }

  return async function handler(input, context) {
    const event = parseCompletionEvent(input)
    const progress = recall(event.id)
    // A promise, not a flag, lets a second delivery that arrives meanwhile wait for the first, and fail with it.
    const earlier = Date.now() > progress.lostAt ? undefined : progress.attempt
    await (earlier ?? begin(progress, event, input, context))
    const stopped = [...knownStopped]
    return {
      handled: event.id,
      duplicate: earlier !== undefined,
      ...(stopped.length > 0 && { stopped }),
    }
  }

  function begin(progress: Progress, event: CompletionEvent, input: unknown, context: LambdaContext) {
    const attempt = notify(progress, event, input, context).then(
      () => {
        progress.lostAt = Number.POSITIVE_INFINITY
      },
      (error) => {
        // A retry is a fresh attempt, with the channels that are left.
        if (progress.attempt === attempt) progress.attempt = undefined
        throw error
      },
    )
    progress.attempt = attempt
    progress.lostAt = Date.now() + context.getRemainingTimeInMillis()
    return attempt
  }
}

const capitalised = (text: string) => text.charAt(0).toUpperCase() + text.slice(1)

/** The fields of an event's log line; it is made here, as a Lambda's only output is what it prints. */
function logLine(
  { id, detail: { task, completed_by: by } }: CompletionEvent,
  context: LambdaContext,
  { told, stopped }: Pick<Progress, 'told' | 'stopped'>,
) {
  return {
    time: new Date().toISOString(),
    level: 'info',
    message: 'task completed',
    event_id: id,
    task_id: task.id,
    title: task.title,
    completed_by: by?.username ?? null,
    completed_at: task.completed_at,
    told: [...told],
    ...(stopped.size > 0 && { stopped: [...stopped] }),
    request_id: context.awsRequestId,
  }
}

let configured: Handler | undefined

/** The function to deploy. Its settings are its environment's, read at the first event: a Lambda has no other entry. */
export const handler: Handler = async (event, context) => {
  configured ??= createHandler({ channels: openChannels(readNotifications(globalThis.process?.env ?? {})) })
  return configured(event, context)
}
