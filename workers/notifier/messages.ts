/** Notifications of the events that the notifier knows. */

import { oneLine } from '../../src/core/plain-text.ts'
import type { OutboxEvent } from '../../src/outbox/event.ts'
import { type CompletionEvent, taskCompleted } from '../../src/tasks/completion-event.ts'

/** An event in words. Title and names are as users typed them: each channel makes them harmless. */
export type Notification = {
  /** The event's id, by which receivers recognize a repeated delivery. */
  id: string
  /** Such as `Task 7`. */
  subject: string
  /** Such as `completed`. */
  verb: string
  title: string
  by: string | undefined
  /** RFC 3339. */
  at: string
  /** Fields of the log line. */
  log: { message: string } & Record<string, unknown>
}

/** Each throws an Error with a one-line message for a malformed event or another version. */
const describers = new Map<string, (event: OutboxEvent) => Notification>([
  [taskCompleted.type, (event) => describeCompletion(taskCompleted.parse(event))],
])

/** Returns undefined for an unknown type. @throws Error in one line when a known event is malformed */
export const describeEvent = (event: OutboxEvent) => describers.get(event['detail-type'])?.(event)

function describeCompletion({ id, detail: { task, completed_by } }: CompletionEvent): Notification {
  const { title, completed_at } = task
  const by = completed_by?.username
  const fields = { event_id: id, task_id: task.id, title, completed_by: by ?? null, completed_at }
  const log = { message: 'task completed', ...fields }
  return { id, subject: `Task ${task.id}`, verb: 'completed', title, by, at: completed_at, log }
}

/** One line of Slack's mrkdwn in which nothing that a user typed has an effect. */
export const chatText = ({ subject, verb, by, title }: Notification) =>
  `${subject} ${verb}${by === undefined ? '' : ` by ${quote(by)}`}: ${quote(title)}`

/** Plain text, without the description: anyone with an account could have us mail any text of any length. */
export function mailText({ subject, verb, by, title, at }: Notification) {
  const actor = by === undefined ? '' : ` by ${oneLine(by)}`
  return {
    subject: `${subject} ${verb}: ${oneLine(title)}`,
    text: `${oneLine(title)}\n\n${subject} was ${verb}${actor} at ${at.slice(0, 19).replace('T', ' ')} UTC.\n`,
  }
}

/**
 * Returns a user's text as inline code, in which Slack, Mattermost and Discord ignore `*bold*`, `@channel`
 * and URLs. A backtick would end the code and cannot be escaped, so a similar character replaces it. The
 * three escapes are Slack's rule for data: https://docs.slack.dev/messaging/formatting-message-text
 */
function quote(text: string) {
  const line = oneLine(text).replaceAll('`', '\u02cb') || ' '
  return `\`${line.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')}\``
}
