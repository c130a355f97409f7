/** The webhook, verified with the official library for Standard Webhooks. */
import { Webhook } from 'standardwebhooks'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { webhookChannel } from '../../workers/notifier/webhook.ts'
import { makeCompletionEvent, messageOf } from '../support/completion-event.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const newSecret = () => `whsec_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('base64')}`

let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>
beforeEach(async () => {
  receiver = await startWebhookReceiver()
})
afterEach(() => receiver.close())

const tell = (secrets?: string[], event = makeCompletionEvent({ title: 'Ünïcode 🎉' }), timeoutMs = 10_000) =>
  webhookChannel({
    NOTIFY_WEBHOOK_URL: receiver.url,
    ...(secrets && { NOTIFY_WEBHOOK_SECRET: secrets }),
  }).send(messageOf(event, timeoutMs))

const last = () => {
  const request = receiver.received.at(-1)
  if (!request) throw new Error('nothing was received')
  return { body: request.body, headers: request.headers as Record<string, string> }
}

test('the official library accepts the signature and returns the event', async () => {
  const secret = newSecret()
  const event = makeCompletionEvent({ title: 'Ünïcode 🎉' })
  await tell([secret], event)
  const { body, headers } = last()
  expect(new Webhook(secret).verify(body, headers)).toEqual({
    text: expect.stringContaining('Ünïcode 🎉'),
    event,
  })
  expect(headers['webhook-id']).toBe(event.id)
})

test('the library refuses another secret, body, id and time', async () => {
  const secret = newSecret()
  await tell([secret])
  const { body, headers } = last()
  const verify = (key: string, text: string, changed: Record<string, string> = {}) =>
    new Webhook(key).verify(text, { ...headers, ...changed })
  expect(() => verify(newSecret(), body)).toThrow('No matching signature')
  expect(() => verify(secret, body.replace('Task', 'task'))).toThrow('No matching signature')
  expect(() => verify(secret, body, { 'webhook-id': crypto.randomUUID() })).toThrow('No matching signature')
  const later = String(Number(headers['webhook-timestamp']) + 1)
  expect(() => verify(secret, body, { 'webhook-timestamp': later })).toThrow('No matching signature')
})

test('with two secrets, receivers with either one accept', async () => {
  const [older, newer] = [newSecret(), newSecret()]
  await tell([newer, older])
  const { body, headers } = last()
  for (const secret of [older, newer]) expect(() => new Webhook(secret).verify(body, headers)).not.toThrow()
  expect(() => new Webhook(newSecret()).verify(body, headers)).toThrow('No matching signature')
})

test('a repeated event has the same id and a new signature', async () => {
  const secret = newSecret()
  const event = makeCompletionEvent()
  receiver.answerWith((response) => void response.writeHead(503).end())
  await expect(tell([secret], event)).rejects.toThrow('it answered 503')
  receiver.answerWith((response) => void response.writeHead(200).end())
  await tell([secret], event)
  expect(receiver.received.map(({ headers }) => headers['webhook-id'])).toEqual([event.id, event.id])
  for (const { body, headers } of receiver.received)
    expect(() => new Webhook(secret).verify(body, headers as Record<string, string>)).not.toThrow()
})

test('without a secret there is an id and no signature', async () => {
  const event = makeCompletionEvent()
  await tell(undefined, event)
  expect(last().headers).toMatchObject({ 'webhook-id': event.id })
  expect(last().headers).not.toHaveProperty('webhook-signature')
})

test('a receiver that closes the connection before or during its answer', async () => {
  receiver.answerWith((response) => void response.destroy())
  await expect(tell()).rejects.toThrow(/other side closed|ECONNRESET/)
  // The status has already accepted the event.
  receiver.answerWith((response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('thank', () => response.destroy())
  })
  await tell()
})

test('a receiver that never answers, or never ends its answer', async () => {
  receiver.answerWith(() => {})
  await expect(tell(undefined, undefined, 50)).rejects.toThrow('no answer within 50 ms')
  receiver.answerWith((response) => {
    response.writeHead(200)
    response.write('and another thing')
  })
  await tell()
})
