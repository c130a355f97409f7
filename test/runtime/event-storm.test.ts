/** A short round of `npm run events`: every Event that was answered 202 is handled, despite kills. */
import { expect, test, vi } from 'vitest'
import { createClient } from '../support/client.ts'
import { newestNotifier, runEventStorm } from '../support/event-storm.ts'
import { createService, endProcess } from '../support/processes.ts'

const kills = 5
/** Events in flight: a kill can come between their handling and its record. */
const together = 10
/** Events in flight at a kill wait for the end of their lease of 15 s. */
const patience = { timeout: 90_000, interval: 100 }

test('handles all of 500 Events despite 5 SIGKILLs of the notifier', {
  timeout: 300_000,
}, async () => {
  const storm = await runEventStorm({ events: 500, kills, withinMs: 240_000 })
  expect(storm).toMatchObject({ missing: [], dead: 0 })
  // Only events in flight at a kill, and those sent twice, may be handled again.
  expect(storm.repeats).toBeLessThanOrEqual(kills * together + storm.unanswered)
  console.log('Events handled again:', storm.repeats)
})

test('NOTIFIER_INVOCATION=Event: no event is lost between outbox and queue when API and notifier are killed', async (context) => {
  const service = await createService(context, {
    NOTIFIER_INVOCATION: 'Event',
    // On a slow machine the webhook times out before the kill.
    NOTIFIER_RETRY_DELAYS: '1s,1s,1s,1s,1s',
    LOG_LEVEL: 'debug',
  })
  // Nothing is handled yet: every event is in the outbox or in the queue.
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
