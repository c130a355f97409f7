/** A completion event made by hand out of a task that is completed already, to try the notifier with. */
import { describeFailure } from '../../src/core/failure.ts'
import { StartError } from '../../src/core/start-error.ts'
import { type CompletionEvent, parseCompletionEvent } from '../../src/outbox/completion-event.ts'
import { connectAsOperator } from '../../src/runtime/postgres/operator-database.ts'

type Source = { databaseUrl: string | undefined; databaseCa: string | undefined; dataDirectory: string }

/**
 * The event has an id of its own, so that the notifier takes it for a new one, and names nobody: the row doesn't tell who completed it.
 * @throws StartError in one line when there is no such task, it is not completed, or the database doesn't answer
 */
export async function readEventOfTask(id: string, source: Source): Promise<CompletionEvent> {
  if (!/^[1-9]\d{0,15}$/.test(id)) throw new StartError(`--task ${id}: give the id of a task, a whole number`)
  const sql = await connectAsOperator(source)
  try {
    const [task] = await sql<CompletionEvent['detail']['task'][]>`
      select id, title, description, status, assigned_to, created_by, extract(epoch from created_at) created_at,
        extract(epoch from updated_at) updated_at, extract(epoch from completed_at) completed_at
      from tasks
      where id = ${id}`
    if (!task) throw new StartError(`--task ${id}: there is no such task`)
    if (task.status !== 'completed') {
      throw new StartError(`--task ${id}: it is ${task.status}; the notifier hears of completed tasks only`)
    }
    return parseCompletionEvent({
      version: '0',
      id: crypto.randomUUID(),
      'detail-type': 'Task Completed',
      source: 'task-api',
      account: '',
      time: task.completed_at,
      region: '',
      resources: [`/api/tasks/${task.id}/`],
      detail: { task, completed_by: null },
    })
  } catch (error) {
    if (error instanceof StartError) throw error
    throw new StartError(`cannot read the task from the database: ${describeFailure(error)}`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}
