/** Builds a completion event from a task that is already completed, to try the notifier. */
import { describeFailure } from '../../src/core/failure.ts'
import { StartError } from '../../src/core/start-error.ts'
import { connectAsOperator } from '../../src/runtime/postgres/operator-database.ts'
import { type CompletionEvent, taskCompleted } from '../../src/tasks/completion-event.ts'

/**
 * The event has a new id, so that the notifier handles it. The row does not say who completed the task.
 * @throws StartError in one line when the task is missing or not completed, or the database does not answer
 */
export async function readEventOfTask(id: string, env: NodeJS.ProcessEnv): Promise<CompletionEvent> {
  if (!/^[1-9]\d{0,15}$/.test(id)) throw new StartError(`--task ${id}: give the id of a task, a whole number`)
  const sql = await connectAsOperator(env)
  try {
    const [task] = await sql<CompletionEvent['detail']['task'][]>`
      select id, title, description, status, assigned_to, created_by, extract(epoch from created_at) created_at,
        extract(epoch from updated_at) updated_at, extract(epoch from completed_at) completed_at
      from tasks
      where id = ${id}`
    if (!task) throw new StartError(`--task ${id}: there is no such task`)
    if (task.status !== 'completed') {
      throw new StartError(`--task ${id}: it is ${task.status}; only completed tasks have an event`)
    }
    return taskCompleted.parse({
      version: '0',
      id: crypto.randomUUID(),
      'detail-type': taskCompleted.type,
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
