/** A completion event as the trigger writes it, with a new id. */
import type { CompletionEvent } from '../../src/tasks/completion-event.ts'
import type { Message } from '../../workers/notifier/channel.ts'
import { describeEvent } from '../../workers/notifier/messages.ts'

export function makeCompletionEvent(
  task: Partial<CompletionEvent['detail']['task']> = {},
  completedBy: CompletionEvent['detail']['completed_by'] = { id: 1, username: 'ann' },
): CompletionEvent {
  const time = '2026-11-22T07:04:05.123Z'
  return {
    version: '0',
    id: crypto.randomUUID(),
    'detail-type': 'Task Completed',
    source: 'task-api',
    account: '',
    time,
    region: '',
    resources: ['/api/tasks/7/'],
    detail: {
      task: {
        id: 7,
        title: 'Fix the roof',
        description: null,
        status: 'completed',
        assigned_to: null,
        created_by: 1,
        created_at: time,
        updated_at: time,
        completed_at: time,
        ...task,
      },
      completed_by: completedBy,
    },
  }
}

/** The message that the handler gives a channel for the event. */
export function messageOf(event: CompletionEvent, timeoutMs: number): Message {
  const notification = describeEvent(event)
  if (!notification) throw new Error('the event is of unknown type')
  return { notification, event, timeoutMs }
}
