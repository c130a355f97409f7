/** A completion event made by hand out of a task that is completed already, to try the notifier with. */
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { type CompletionEvent, parseCompletionEvent } from '../../src/events/completion-event.ts'
import { findEmbeddedPostgres } from '../../src/runtime/embedded-postgres.ts'
import { valueOptions } from '../../src/runtime/postgres.ts'
import { StartError } from '../../src/start-error.ts'

/** Seen from dist/, where the bundle is. */
const packageRoot = fileURLToPath(new URL('..', import.meta.url))

type Source = { databaseUrl: string | undefined; dataDirectory: string }

/**
 * The event has an id of its own, so that the notifier takes it for a new one, and names nobody: the row doesn't tell who completed it.
 * @throws StartError in one line when there is no such task, it is not completed, or the database doesn't answer
 */
export async function readEventOfTask(id: string, source: Source): Promise<CompletionEvent> {
  if (!/^[1-9]\d{0,15}$/.test(id)) throw new StartError(`--task ${id}: give the id of a task, a whole number`)
  const sql = await connect(source)
  try {
    const [task] = await sql<CompletionEvent['detail']['task'][]>`
      select id, title, description, status, assigned_to, created_by, created_at, updated_at, completed_at
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
    throw new StartError(`cannot read the task from the database: ${describe(error)}`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function connect({ databaseUrl, dataDirectory }: Source) {
  const options = { ...valueOptions, max: 1, prepare: false }
  if (databaseUrl) {
    try {
      return postgres(databaseUrl, options)
    } catch {
      // The cause would show the password.
      throw new StartError('DATABASE_URL must look like postgres://user:password@host:5432/database')
    }
  }
  const embedded = await findEmbeddedPostgres({ dataDirectory, packageRoot })
  if (embedded) return postgres({ ...embedded, ...options })
  throw new StartError(
    `no database: run npm start first (no server is running on ${dataDirectory}), or set DATABASE_URL`,
  )
}

/** A refused connection to a name with several addresses has its messages one level down. */
function describe(error: unknown): string {
  if (error instanceof AggregateError && !error.message) return error.errors.map(describe).join(', ')
  return (error instanceof Error ? error.message || error.name : String(error)).replace(/\s+/g, ' ').trim()
}
