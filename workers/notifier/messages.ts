/** A completed task in words. */

import { oneLine } from '../../src/core/plain-text.ts'
import type { CompletionEvent } from '../../src/outbox/completion-event.ts'

/**
 * Text written by a user, as inline code: there Slack and its look-alikes (Mattermost, Discord) leave `*bold*`, `@channel`
 * and URLs alone. A backtick would end it and can't be escaped, so that it becomes a character that looks like one.
 * The three escapes are Slack's own rule for text that is data: https://docs.slack.dev/messaging/formatting-message-text
 */
function quoted(text: string) {
  const line = oneLine(text).replaceAll('`', '\u02cb') || ' '
  return `\`${line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')}\``
}

/** One line of Slack's mrkdwn in which nothing a user typed has an effect. */
export function completionText({ detail: { task, completed_by: by } }: CompletionEvent) {
  return `Task ${task.id} completed${by ? ` by ${quoted(by.username)}` : ''}: ${quoted(task.title)}`
}

/** Plain text. Its description stays out: everyone with an account could have us mail whatever they like, at any length. */
export function completionMail({ detail: { task, completed_by: by } }: CompletionEvent) {
  const title = oneLine(task.title)
  const at = `${task.completed_at.slice(0, 19).replace('T', ' ')} UTC`
  return {
    subject: `Task ${task.id} completed: ${title}`,
    text: `${title}\n\nTask ${task.id} was completed${by ? ` by ${oneLine(by.username)}` : ''} at ${at}.\n`,
  }
}
