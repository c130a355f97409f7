/**
 * A look into the notifier: what it ran lately, what waits, what was given up; and to do with that. Not AWS's, which has a console
 * and CloudWatch for it; signed all the same. `npm run notifier` asks here.
 */
import type { Context } from 'hono'
import { Hono } from 'hono/tiny'
import { DatabaseUnavailableError } from '../../src/ports/database.ts'
import type { Channel } from '../notifier/channel.ts'
import { checkQueue, type EventKeeper } from './event-queue-port.ts'
import type { Execution } from './execution.ts'
import { ServiceError } from './service-error.ts'

type Options = {
  execution: Execution
  channels: Pick<Channel, 'name' | 'state'>[]
  queue: EventKeeper | undefined
  /** @throws ServiceError when the request is not well signed */
  verify(c: Context): Promise<unknown>
}

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function createInspection({ execution, channels, queue, verify }: Options) {
  const inspection = new Hono()

  inspection.get('/invocations', async (c) => {
    await verify(c)
    return c.json({ invocations: execution.recent() })
  })

  inspection.get('/channels', async (c) => {
    await verify(c)
    return c.json({
      channels: channels.map(({ name, state }) => ({ name, ...(state?.() ?? { state: 'open' }) })),
    })
  })

  inspection.get('/events', async (c) => {
    await verify(c)
    return c.json(await checkQueue(queue).look())
  })

  for (const act of ['redrive', 'drop'] as const) {
    inspection.post(`/${act}`, async (c) => {
      await verify(c)
      const id = c.req.query('id')
      if (id !== undefined && !uuid.test(id))
        throw new ServiceError(400, 'InvalidParameterValueException', `id is no request id: ${id}`)
      return c.json({ events: await checkQueue(queue)[act](id ?? null) })
    })
  }

  // Only an operator asks here, who is to know what to do.
  inspection.onError((error) => {
    if (!(error instanceof DatabaseUnavailableError)) throw error
    throw new ServiceError(503, 'ServiceUnavailableException', error.message)
  })
  return inspection
}
