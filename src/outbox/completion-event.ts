/** What the trigger on `tasks` leaves in the outbox when a task is completed: an EventBridge envelope. */
import { en } from 'zod/locales'
import * as z from 'zod/mini'

const time = z.iso.datetime({ offset: true })
const id = z.int().check(z.positive())

/** Members it does not know are let through, so that a newer API can add some before the notifier is deployed. */
export const CompletionEvent = z.object({
  version: z.literal('0'),
  /** The idempotency key: the same on every delivery of the event. */
  id: z.uuid(),
  'detail-type': z.literal('Task Completed'),
  source: z.literal('task-api'),
  account: z.string(),
  time,
  region: z.string(),
  resources: z.array(z.string()),
  detail: z.object({
    /** The task as it was at that moment: it may have been edited or deleted since. */
    task: z.object({
      id,
      title: z.string(),
      description: z.nullable(z.string()),
      status: z.literal('completed'),
      assigned_to: z.nullable(id),
      created_by: id,
      created_at: time,
      updated_at: z.nullable(time),
      completed_at: time,
    }),
    /** Null when the change was made in the database by hand. */
    completed_by: z.nullable(z.object({ id, username: z.string() })),
  }),
})

export type CompletionEvent = z.infer<typeof CompletionEvent>

/** @throws Error that names, in one line, the members that are wrong: the first five of them. */
export function parseCompletionEvent(input: unknown): CompletionEvent {
  const result = z.safeParse(CompletionEvent, input, { error: en().localeError })
  if (result.success) return result.data
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'event'}: ${issue.message}`)
  const more = problems.length > 5 ? `; and ${problems.length - 5} more` : ''
  throw new Error(`Not a completion event: ${problems.slice(0, 5).join('; ')}${more}`)
}
