/** The notifier: an AWS Lambda handler for completion events, on AWS, on Node and on workerd alike. */
import { type CompletionEvent, parseCompletionEvent } from '../../src/events/completion-event.ts'
import { completionText, postWebhook } from './notify.ts'
import { readWebhookUrl } from './settings.ts'

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
}

export type Handler = (event: unknown, context: LambdaContext) => Promise<HandlerResult>

type HandlerOptions = {
  /** Where to POST each event; none: only the log tells of it. */
  webhookUrl?: string | undefined
  webhookTimeoutMs?: number
  /** How many event ids are remembered, the newest ones. */
  remembered?: number
  /** Gets one JSON line for each handled event. */
  log?: (line: string) => void
}

/** Time kept back from the invocation's own time-out, so that a slow webhook is reported as what it is. */
const reportMs = 250

/** @throws Error when `webhookUrl` cannot be used. */
export function createHandler({
  webhookUrl,
  webhookTimeoutMs = 5_000,
  remembered = 10_000,
  log = console.log,
}: HandlerOptions = {}): Handler {
  const webhook = webhookUrl ? new URL(webhookUrl) : undefined
  // Delivery is at least once: the same event comes again when its caller didn't hear the answer. A promise, not a
  // flag, lets a second delivery that arrives meanwhile wait for the first, and fail with it.
  const attempts = new Map<string, Promise<void>>()

  async function notify(event: CompletionEvent, input: unknown, context: LambdaContext) {
    if (webhook) {
      const timeoutMs = Math.min(webhookTimeoutMs, context.getRemainingTimeInMillis() - reportMs)
      await postWebhook(
        webhook,
        { text: completionText(event), event: input },
        Math.max(1, Math.floor(timeoutMs)),
      )
    }
    // Last, because the line says that the event is handled: printed first, a webhook's failure would
    // make it false and the retry would print it again.
    log(JSON.stringify(logLine(event, context)))
  }

  function remember(id: string, attempt: Promise<void>) {
    attempts.set(id, attempt)
    if (attempts.size <= remembered) return
    // A Map keeps the order of insertion: its first key is the oldest.
    for (const oldest of attempts.keys()) return void attempts.delete(oldest)
  }

  return async function handler(input, context) {
    const event = parseCompletionEvent(input)
    const earlier = attempts.get(event.id)
    if (earlier) {
      await earlier
      return { handled: event.id, duplicate: true }
    }
    const attempt = notify(event, input, context)
    remember(event.id, attempt)
    try {
      await attempt
    } catch (error) {
      // Forgotten, so that a retry is a fresh attempt.
      if (attempts.get(event.id) === attempt) attempts.delete(event.id)
      throw error
    }
    return { handled: event.id, duplicate: false }
  }
}

/** The fields of a handled event's log line; it is made here, as a Lambda's only output is what it prints. */
function logLine({ id, detail: { task, completed_by: by } }: CompletionEvent, context: LambdaContext) {
  return {
    time: new Date().toISOString(),
    level: 'info',
    message: 'task completed',
    event_id: id,
    task_id: task.id,
    title: task.title,
    completed_by: by?.username ?? null,
    completed_at: task.completed_at,
    request_id: context.awsRequestId,
  }
}

let configured: Handler | undefined

/** The function to deploy. Its settings are its environment's, read at the first event: a Lambda has no other entry. */
export const handler: Handler = async (event, context) => {
  configured ??= createHandler({ webhookUrl: readWebhookUrl(globalThis.process?.env ?? {}) })
  return configured(event, context)
}
