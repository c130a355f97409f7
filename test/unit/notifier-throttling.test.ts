/** A channel whose receiver throttles or is gone. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { parseRetryAfter, throttledForMs } from '../../src/outbox/throttling.ts'
import type { LambdaContext } from '../../workers/lambda/lambda-function.ts'
import { createGate, StoppedError, ThrottledError } from '../../workers/notifier/gate.ts'
import { createHandler } from '../../workers/notifier/handler.ts'
import { webhookChannel } from '../../workers/notifier/webhook.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

type Receiver = Awaited<ReturnType<typeof startWebhookReceiver>>
let receiver: Receiver
let other: Receiver
beforeEach(async () => {
  receiver = await startWebhookReceiver()
  other = await startWebhookReceiver()
})
afterEach(() => Promise.all([receiver.close(), other.close()]))

const context = { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 } as LambdaContext
const answer = (status: number, headers: Record<string, string> = {}) =>
  receiver.answerWith((response) => void response.writeHead(status, headers).end())

function start() {
  const lines: string[] = []
  const channels = [
    webhookChannel({ NOTIFY_WEBHOOK_URL: receiver.url }),
    { ...webhookChannel({ NOTIFY_WEBHOOK_URL: other.url }), name: 'other' },
  ]
  const handle = createHandler({ channels, log: (line) => lines.push(line) })
  return {
    channels,
    lines: () => lines.map((line) => JSON.parse(line)),
    handle: (event = makeCompletionEvent()) => handle(event, context),
    /** The wait in the error, in ms. */
    async heldFor(event = makeCompletionEvent()) {
      const error = await handle(event, context).then(
        () => undefined,
        (thrown: Error) => thrown,
      )
      return error && throttledForMs({ type: error.name, message: error.message })
    },
  }
}

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000)
const names = { day: ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'] }

test.each([
  ['seconds', '30', 30],
  ['a date', inSeconds(60).toUTCString(), 60],
  ['a date as RFC 850 has it', rfc850(inSeconds(60)), 60],
  ['a date as asctime has it', asctime(inSeconds(60)), 60],
  ['more than an hour, which is too much', '86400', 3600],
  ['a date far away', 'Fri, 31 Dec 2100 23:59:59 GMT', 3600],
  ['no time at all', '0', 1],
  ['a date in the past', 'Sun, 06 Nov 1994 08:49:37 GMT', 1],
  ['none', undefined, 1],
  ['nonsense', 'soon', 1],
  ['a fraction', '1.5', 1],
  ['a negative number', '-5', 1],
])('429 with Retry-After: %s', async (_, header, seconds) => {
  answer(429, header === undefined ? {} : { 'retry-after': header })
  const { heldFor } = start()
  const ms = (await heldFor()) ?? 0
  expect(ms).toBeLessThanOrEqual(seconds * 1000)
  expect(ms).toBeGreaterThan(seconds * 1000 - 5000)
  expect(ms).toBeGreaterThanOrEqual(1000)
})

test('does not call a throttled channel; the others get each event once', async () => {
  answer(429, { 'retry-after': '600' })
  const { heldFor, lines, channels } = start()
  const events = Array.from({ length: 5 }, () => makeCompletionEvent())
  for (const event of events) expect(await heldFor(event)).toBeGreaterThan(590_000)
  // The relay may deliver them again.
  for (const event of events) expect(await heldFor(event)).toBeGreaterThan(590_000)
  expect(receiver.received).toHaveLength(1)
  expect(other.received.map(({ headers }) => headers['webhook-id'])).toEqual(events.map(({ id }) => id))
  expect(lines().map(({ told }) => told)).toEqual(events.map(() => ['other']))
  expect(channels.map((channel) => channel.state?.())).toEqual([
    { state: 'throttled', until: expect.any(String) },
    { state: 'open' },
  ])
})

test('503 throttles only with Retry-After; a failure of another channel is a failure of the event', async () => {
  answer(503, { 'retry-after': '600' })
  expect(await start().heldFor()).toBeGreaterThan(590_000)
  answer(503)
  await expect(start().handle()).rejects.toThrow('Webhook failed: it answered 503')
  answer(429, { 'retry-after': '600' })
  other.answerWith((response) => void response.writeHead(500).end())
  await expect(start().handle()).rejects.toMatchObject({
    name: 'NotificationError',
    message: 'Other failed: it answered 500; webhook throttles: it answered 429',
  })
})

test('410 stops the channel: events are handled without it, and the stop is logged once', async () => {
  answer(410)
  const { handle, lines, channels } = start()
  const events = [makeCompletionEvent(), makeCompletionEvent()]
  for (const event of events)
    expect(await handle(event)).toEqual({ handled: event.id, duplicate: false, stopped: ['webhook'] })
  expect(receiver.received).toHaveLength(1)
  expect(other.received).toHaveLength(2)
  expect(lines()).toMatchObject([
    { level: 'error', message: 'channel stopped', channel: 'webhook', reason: 'it answered 410' },
    { message: 'task completed', told: ['other'], stopped: ['webhook'] },
    { message: 'task completed', told: ['other'], stopped: ['webhook'] },
  ])
  expect(channels[0]?.state?.()).toEqual({ state: 'stopped', reason: 'it answered 410' })
  // After a restart it is called again.
  answer(200)
  expect(await start().handle()).not.toHaveProperty('stopped')
})

/** A gate with a clock that only `tick` moves. */
function startGate() {
  let now = 1_000_000
  const gate = createGate(() => now)
  const pass = async (status: number, headers: Record<string, string> = {}) => {
    let called = false
    const outcome = await gate
      .pass(8000, async () => {
        called = true
        return new Response(null, { status, headers })
      })
      .then(
        () => 'told',
        (error: unknown) => {
          if (error instanceof ThrottledError) return error.retryAfterMs
          return error instanceof StoppedError ? 'stopped' : 'failed'
        },
      )
    return [called, outcome]
  }
  return { gate, pass, tick: (ms: number) => (now += ms) }
}

test('without Retry-After the wait doubles, up to 5 minutes', async () => {
  const { pass, tick } = startGate()
  const waits: unknown[] = []
  for (let i = 0; i < 12; i++) {
    const [, ms] = await pass(429)
    waits.push(ms)
    tick(Number(ms) - 1)
    expect(await pass(200)).toEqual([false, 1])
    tick(1)
  }
  expect(waits.slice(0, 4)).toEqual([1000, 2000, 4000, 8000])
  expect(waits.at(-1)).toBe(300_000)
  expect(await pass(200)).toEqual([true, 'told'])
  expect(await pass(429)).toEqual([true, 1000])
})

test('after throttling a single call goes first', async () => {
  const { gate, pass, tick } = startGate()
  await pass(429, { 'retry-after': '10' })
  tick(10_000)
  let release = (_: Response) => {}
  const trial = gate.pass(8000, () => new Promise<Response>((resolve) => (release = resolve)))
  expect(await pass(200)).toEqual([false, 1000])
  release(new Response())
  await trial
  expect(await Promise.all([pass(200), pass(200)])).toEqual([
    [true, 'told'],
    [true, 'told'],
  ])
})

test('a trial call that was dropped silently expires', async () => {
  const { gate, pass, tick } = startGate()
  await pass(429)
  tick(1000)
  void gate.pass(8000, () => new Promise<Response>(() => {}))
  expect(await pass(200)).toEqual([false, 1000])
  tick(8000)
  expect(await pass(200)).toEqual([true, 'told'])
})

test('ignores a malformed Retry-After', () => {
  for (const text of ['', 'Friday', 'tomorrow', '10 minutes']) expect(parseRetryAfter(text)).toBeUndefined()
})

function rfc850(date: Date) {
  const [, day, month, year, time] = /, (\d\d) (\w{3}) \d\d(\d\d) ([\d:]+)/.exec(date.toUTCString()) ?? []
  return `${names.day[date.getUTCDay()]}, ${day}-${month}-${year} ${time} GMT`
}

function asctime(date: Date) {
  const [, weekday, day, month, year, time] =
    /^(\w{3}), (\d\d) (\w{3}) (\d{4}) ([\d:]+)/.exec(date.toUTCString()) ?? []
  return `${weekday} ${month} ${day?.replace(/^0/, ' ')} ${time} ${year}`
}
