/** A short round of `npm run events`: an Event that was answered 202 is handled, whatever happens to the notifier. */
import { expect, test, vi } from 'vitest'
import { createClient } from '../support/client.ts'
import { newestNotifier, runEventStorm } from '../support/event-storm.ts'
import { createService, endProcess } from '../support/processes.ts'

const kills = 5
/** How many events are handled at a time: those a kill can hit between the handling and its record. */
const together = 10
/** Those under way at a kill wait until their lease of 15 s has run out. */
const patience = { timeout: 90_000, interval: 100 }

test('500 Events, 5 SIGKILLs of the notifier that npm start runs: all are handled', {
  timeout: 300_000,
}, async () => {
  const storm = await runEventStorm({ events: 500, kills, withinMs: 240_000 })
  expect(storm).toMatchObject({ missing: [], dead: 0 })
  // Nothing is handled again for no reason: an event whose sender got no answer is another one, which may be in the queue too.
  expect(storm.repeats).toBeLessThanOrEqual(kills * together + storm.unanswered)
  console.log('Events handled again:', storm.repeats)
})

test('NOTIFIER_INVOCATION=Event: completions pass from the outbox into the queue, and API and notifier may be killed on the way', async (context) => {
  const service = await createService(context, {
    NOTIFIER_INVOCATION: 'Event',
    // A slow machine has the webhook time out before the kill.
    NOTIFIER_RETRY_DELAYS: '1s,1s,1s,1s,1s',
    LOG_LEVEL: 'debug',
  })
  // Nothing is handled yet: what is acknowledged is in the outbox or in the queue.
  service.webhook.answerWith(() => {})
  const api = await service.start()
  const client = createClient(api)
  const { token } = await client.register()
  const ids: number[] = []
  for (let n = 0; n < 25; n++) ids.push((await client.createTask(token, { status: 'completed' })).id)
  await vi.waitFor(() => expect(service.webhook.received.length).toBeGreaterThanOrEqual(together), patience)
  endProcess(newestNotifier(api))
  await api.stop('SIGKILL')

  service.webhook.answerWith((response) => void response.writeHead(200).end())
  await service.start()
  const left = 'select id from outbox union all select request_id from notifier_events'
  await vi.waitFor(async () => expect(await service.query(left)).toEqual([]), patience)
  const told = service.webhook.received.map(({ body }) => JSON.parse(body).event.detail.task.id)
  expect(new Set(told)).toEqual(new Set(ids))
})
