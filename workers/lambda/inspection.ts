/** For an operator: recent invocations, the function's state, dead letters. AWS has its console for that. */
import type { Context } from 'hono'
import { Hono } from 'hono/tiny'
import { DatabaseUnavailableError } from '../../src/ports/database.ts'
import type { EventQueue } from './event-queue.ts'
import type { Execution } from './execution.ts'
import { ServiceError } from './service-error.ts'

type Options = {
  execution: Execution
  /** The function's own state, as JSON. */
  state: () => object
  /** @throws ServiceError when there is none */
  queue: () => EventQueue
  /** @throws ServiceError when the request is not signed correctly */
  verify(c: Context): Promise<unknown>
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function createInspection({ execution, state, queue, verify }: Options) {
  const inspection = new Hono()
  inspection.use((c, next) => verify(c).then(next))
  inspection.get('/invocations', (c) => c.json({ invocations: execution.recent() }))
  inspection.get('/state', (c) => c.json(state()))
  inspection.get('/events', async (c) => c.json(await queue().inspect()))
  for (const action of ['redrive', 'drop'] as const) {
    inspection.post(`/${action}`, async (c) => {
      const id = c.req.query('id')
      if (id !== undefined && !uuid.test(id))
        throw new ServiceError(400, 'InvalidParameterValueException', `id is no request id: ${id}`)
      return c.json({ events: await queue()[action](id ?? null) })
    })
  }
  // Only an operator calls this, and can act on the reason.
  inspection.onError((error) => {
    if (!(error instanceof DatabaseUnavailableError)) throw error
    throw new ServiceError(503, 'ServiceUnavailableException', error.message)
  })
  return inspection
}
