/** The event that the trigger on `tasks` writes when a task is completed. */
import * as z from 'zod/mini'
import { declareEvent, time } from '../outbox/event.ts'

const id = z.int().check(z.positive())

export const taskCompleted = declareEvent(
  'Task Completed',
  1,
  z.object({
    /** The task at that moment. It may have been edited or deleted since. */
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
    /** Null when the task was changed by hand in the database. */
    completed_by: z.nullable(z.object({ id, username: z.string() })),
  }),
)

export type CompletionEvent = ReturnType<typeof taskCompleted.parse>
