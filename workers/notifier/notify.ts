/** Tells people about a completed task by a webhook. Only what every runtime has: fetch. */
import type { CompletionEvent } from '../../src/events/completion-event.ts'

/** Line breaks, other control characters, and the marks that make the rest of a line run backwards. */
const unprintable = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu

/**
 * Text written by a user, as inline code: there Slack and its look-alikes (Mattermost, Discord) leave `*bold*`, `@channel`
 * and URLs alone. A backtick would end it and can't be escaped, so that it becomes a character that looks like one.
 * The three escapes are Slack's own rule for text that is data: https://docs.slack.dev/messaging/formatting-message-text
 */
function quoted(text: string) {
  const line = text.replace(unprintable, ' ').replaceAll('`', '\u02cb').trim() || ' '
  return `\`${line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')}\``
}

/** One line of Slack's mrkdwn in which nothing a user typed has an effect. */
export function completionText({ detail: { task, completed_by: by } }: CompletionEvent) {
  return `Task ${task.id} completed${by ? ` by ${quoted(by.username)}` : ''}: ${quoted(task.title)}`
}

/**
 * Resolves when the receiver has answered 2xx. Redirects are not followed: the event goes where the operator said, nowhere else.
 * @throws Error otherwise, after `timeoutMs` at the latest.
 */
export async function postWebhook(url: URL, message: { text: string; event: unknown }, timeoutMs: number) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(message),
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((error: unknown) => {
    throw new Error(`Webhook failed: ${reason(error, timeoutMs)}`, { cause: error })
  })
  // Nothing in the answer matters but its status; the body may even be endless.
  await response.body?.cancel().catch(() => undefined)
  if (!response.ok) throw new Error(`Webhook failed: it answered ${response.status}`)
}

function reason(error: unknown, timeoutMs: number) {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
  // Node says only "fetch failed"; what went wrong is in the cause.
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message
}
