/** The notifier: a Lambda handler for the events of the outbox. It runs on AWS, on Node and on workerd. */

import { jsonLine } from '../../src/core/log.ts'
import { type OutboxEvent, parseEvent, versionOf } from '../../src/outbox/event.ts'
import { ChannelThrottledError } from '../../src/outbox/throttling.ts'
import { channelTimeoutMs } from '../../src/outbox/timing.ts'
import type { LambdaContext, LambdaFunction } from '../lambda/lambda-function.ts'
import type { Channel, Message } from './channel.ts'
import { openChannels } from './channels.ts'
import { StoppedError, ThrottledError } from './gate.ts'
import { describeEvent } from './messages.ts'
import { readNotifications } from './settings.ts'

export type Handler = LambdaFunction<{
  /** The event's id. */
  handled: string
  /** True when this process had handled the event before and did nothing now. */
  duplicate: boolean
  /** Names of the stopped channels, if any. */
  stopped?: string[]
}>

type HandlerOptions = {
  /** Without channels an event is only logged. */
  channels?: Channel[]
  /** Time for each channel. All send at the same time. */
  timeoutMs?: number
  /** The number of event ids that are remembered. */
  remembered?: number
  /** Called with one JSON line for each event, whether its channels fail or not. */
  log?: (line: string) => void
}

/** The progress of an event in this process. */
type Progress = {
  /** Names of the channels that have sent it. */
  told: Set<string>
  /** Names of the channels that were stopped before they had sent it. */
  stopped: Set<string>
  isLogged: boolean
  /** In flight, or successful. */
  attempt?: Promise<void> | undefined
  /** In ms since the epoch. Later an attempt in flight counts as lost: workerd may drop it silently. */
  lostAt: number
}

/** Names the channels that failed, with the reasons, and those that have sent the event. */
class NotificationError extends Error {
  override name = 'NotificationError'
}

/** Subtracted from the remaining time of the invocation, so that a slow channel is reported by its name. */
const reportMs = 250

export function createHandler({
  channels = [],
  timeoutMs = channelTimeoutMs,
  remembered = 10_000,
  log = console.log,
}: HandlerOptions = {}): Handler {
  // An event is delivered at least once: again if its caller got no answer, and after a failure of a channel.
  const known = new Map<string, Progress>()
  const knownStopped = new Set<string>()

  const print = (level: string, fields: Record<string, unknown>) =>
    log(jsonLine({ time: new Date().toISOString(), level, ...fields }))

  async function notify(progress: Progress, event: OutboxEvent, input: unknown, context: LambdaContext) {
    const notification = describeEvent(event)
    const leftMs = Math.min(timeoutMs, context.getRemainingTimeInMillis() - reportMs)
    const { failures, throttled } = notification
      ? await send(progress, { notification, event: input, timeoutMs: Math.max(1, Math.floor(leftMs)) })
      : { failures: [], throttled: [] }
    const { told, stopped } = progress
    if (!progress.isLogged) {
      const request_id = context.awsRequestId
      const outcome = { told: [...told], ...(stopped.size > 0 && { stopped: [...stopped] }) }
      if (notification) print('info', { ...notification.log, ...outcome, request_id })
      else print('warn', { message: 'event of unknown type', ...identify(event), request_id })
    }
    progress.isLogged = true
    const problems = [...failures, ...throttled.map(({ message }) => message)]
    if (problems.length === 0) return
    const text = [...problems, ...(told.size > 0 ? [`told: ${[...told].join(', ')}`] : [])].join('; ')
    const sentence = text.charAt(0).toUpperCase() + text.slice(1)
    if (failures.length > 0) throw new NotificationError(sentence)
    throw new ChannelThrottledError(Math.min(...throttled.map(({ retryAfterMs }) => retryAfterMs)), sentence)
  }

  /** Sends to the channels that are left, and returns why some did not send. */
  async function send({ told, stopped }: Progress, message: Message) {
    const failures: string[] = []
    const throttled: { retryAfterMs: number; message: string }[] = []
    async function sendTo({ name, send }: Channel) {
      try {
        await send(message)
        told.add(name)
      } catch (error) {
        if (error instanceof StoppedError) {
          stopped.add(name)
          reportStop(name, error)
        } else if (error instanceof ThrottledError) {
          throttled.push({ retryAfterMs: error.retryAfterMs, message: `${name} ${error.message}` })
        } else failures.push(`${name} failed: ${error instanceof Error ? error.message : error}`)
      }
    }
    await Promise.all(channels.filter(({ name }) => !told.has(name) && !stopped.has(name)).map(sendTo))
    return { failures, throttled }
  }

  /** Logs the stop of a channel once. The lines of later events name the channel. */
  function reportStop(channel: string, { message: reason }: StoppedError) {
    if (knownStopped.has(channel)) return
    knownStopped.add(channel)
    const advice = 'it gets no events before a restart: give it another address, or unset it'
    print('error', { message: 'channel stopped', channel, reason, advice })
  }

  function recall(id: string): Progress {
    const progress = known.get(id) ?? {
      told: new Set(),
      stopped: new Set(),
      isLogged: false,
      lostAt: Number.POSITIVE_INFINITY,
    }
    // A Map keeps the order of insertion: its first key is the least recently used.
    known.delete(id)
    known.set(id, progress)
    const [oldest] = known.keys()
    if (known.size > remembered && oldest !== undefined) known.delete(oldest)
    return progress
  }

  function begin(progress: Progress, event: OutboxEvent, input: unknown, context: LambdaContext) {
    const attempt = notify(progress, event, input, context).then(
      () => {
        progress.lostAt = Number.POSITIVE_INFINITY
      },
      (error) => {
        // A retry is a new attempt, with the remaining channels.
        if (progress.attempt === attempt) progress.attempt = undefined
        throw error
      },
    )
    progress.attempt = attempt
    progress.lostAt = Date.now() + context.getRemainingTimeInMillis()
    return attempt
  }

  return async function handler(input, context) {
    const event = parseEvent(input)
    const progress = recall(event.id)
    // The promise lets a repeated delivery wait for the first one, and fail with it.
    const earlier = Date.now() > progress.lostAt ? undefined : progress.attempt
    await (earlier ?? begin(progress, event, input, context))
    const stopped = [...knownStopped]
    const duplicate = earlier !== undefined
    return { handled: event.id, duplicate, ...(stopped.length > 0 && { stopped }) }
  }
}

const identify = (event: OutboxEvent) => ({
  event_id: event.id,
  type: event['detail-type'],
  version: versionOf(event),
  subject: event.resources[0] ?? null,
})

/** The channels' states, for the inspection. */
export const describeChannels = (channels: Channel[]) => ({
  channels: channels.map(({ name, state }) => ({ name, ...(state?.() ?? { state: 'open' }) })),
})

let configured: Handler | undefined

/** The function to deploy. It reads its settings at the first event, since a Lambda has no other entry. */
export const handler: Handler = async (event, context) => {
  configured ??= createHandler({ channels: openChannels(readNotifications(globalThis.process?.env ?? {})) })
  return configured(event, context)
}
