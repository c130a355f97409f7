import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { LambdaContext } from '../../workers/lambda/lambda-function.ts'
import { createHandler, handler } from '../../workers/notifier/handler.ts'
import { chatText } from '../../workers/notifier/messages.ts'
import { webhookChannel } from '../../workers/notifier/webhook.ts'
import { makeCompletionEvent, messageOf } from '../support/completion-event.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>
beforeEach(async () => {
  receiver = await startWebhookReceiver()
})
afterEach(() => receiver.close())

const context = (remainingMs = 60_000): LambdaContext => ({
  functionName: 'task-notifier',
  functionVersion: '$LATEST',
  invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:task-notifier',
  memoryLimitInMB: '128',
  awsRequestId: 'request-1',
  logGroupName: '',
  logStreamName: '',
  callbackWaitsForEmptyEventLoop: true,
  getRemainingTimeInMillis: () => remainingMs,
})

const webhook = (url = receiver.url) => [webhookChannel({ NOTIFY_WEBHOOK_URL: url })]

function handlerWithLog(options: Parameters<typeof createHandler>[0] = {}) {
  const lines: string[] = []
  return { lines, handle: createHandler({ log: (line) => lines.push(line), ...options }) }
}

test('logs a handled event as one JSON line', async () => {
  const { lines, handle } = handlerWithLog()
  const event = makeCompletionEvent({ title: 'Fix\n"it"' })
  expect(await handle(event, context())).toEqual({ handled: event.id, duplicate: false })
  expect(lines).toHaveLength(1)
  expect(lines[0]).not.toContain('\n')
  expect(JSON.parse(lines[0] ?? '')).toEqual({
    time: expect.stringMatching(/^\d{4}-.+Z$/),
    level: 'info',
    message: 'task completed',
    event_id: event.id,
    task_id: 7,
    title: 'Fix\n"it"',
    completed_by: 'ann',
    completed_at: '2026-11-22T07:04:05.123Z',
    told: [],
    request_id: 'request-1',
  })
})

test('logs null if nobody is known to have completed the task', async () => {
  const { lines, handle } = handlerWithLog()
  await handle(makeCompletionEvent({}, null), context())
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({ completed_by: null })
})

test('the exported handler logs to the console', async () => {
  const print = vi.spyOn(console, 'log').mockImplementation(() => {})
  try {
    const event = makeCompletionEvent()
    expect(await handler(event, context())).toEqual({ handled: event.id, duplicate: false })
    expect(await handler(event, context())).toEqual({ handled: event.id, duplicate: true })
    expect(print).toHaveBeenCalledTimes(1)
  } finally {
    print.mockRestore()
  }
})

test('refuses a malformed event and names the wrong members', async () => {
  const { lines, handle } = handlerWithLog()
  const event = makeCompletionEvent()
  await expect(handle(null, context())).rejects.toThrow(/^Malformed event: event: .*object/)
  await expect(handle({ ...event, id: 'x' }, context())).rejects.toThrow(/^Malformed event: id: /)
  const pending = { ...event, detail: { ...event.detail, task: { ...event.detail.task, status: 'pending' } } }
  await expect(handle(pending, context())).rejects.toThrow(/detail\.task\.status/)
  await expect(handle({}, context())).rejects.toThrow(/and \d more$/)
  expect(lines).toEqual([])
})

test('an event of unknown type is acknowledged, and logged once', async () => {
  const { lines, handle } = handlerWithLog({ channels: webhook() })
  const unknown = {
    ...makeCompletionEvent(),
    'detail-type': 'Task Shared',
    detail: { version: 2, with: 'bob' },
  }
  expect(await handle(unknown, context())).toEqual({ handled: unknown.id, duplicate: false })
  expect(await handle(unknown, context())).toEqual({ handled: unknown.id, duplicate: true })
  expect(receiver.received).toEqual([])
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    {
      time: expect.any(String),
      level: 'warn',
      message: 'event of unknown type',
      event_id: unknown.id,
      type: 'Task Shared',
      version: 2,
      subject: '/api/tasks/7/',
      request_id: 'request-1',
    },
  ])
})

test('an event of another version of its type is refused, so that it is tried again', async () => {
  const { lines, handle } = handlerWithLog()
  const event = makeCompletionEvent()
  const newer = { ...event, detail: { ...event.detail, version: 2 } }
  await expect(handle(newer, context())).rejects.toThrow('Unknown version 2 of Task Completed')
  expect(lines).toEqual([])
  const stated = { ...event, detail: { ...event.detail, version: 1 } }
  expect(await handle(stated, context())).toMatchObject({ handled: event.id })
})

test('a repeated event sends nothing', async () => {
  const { lines, handle } = handlerWithLog({ channels: webhook() })
  const event = makeCompletionEvent()
  await handle(event, context())
  expect(await handle(event, context())).toEqual({ handled: event.id, duplicate: true })
  expect(receiver.received).toHaveLength(1)
  expect(lines).toHaveLength(1)
})

test('a repeated event waits for the attempt in flight', async () => {
  let release = () => {}
  const arrived = new Promise<void>((resolve) => {
    receiver.answerWith((response) => {
      release = () => void response.writeHead(200).end()
      resolve()
    })
  })
  const { lines, handle } = handlerWithLog({ channels: webhook() })
  const event = makeCompletionEvent()
  const first = handle(event, context())
  await arrived
  let answered = false
  const second = handle(event, context()).finally(() => {
    answered = true
  })
  // Another event is handled completely meanwhile.
  receiver.answerWith((response) => void response.writeHead(200).end())
  await handle(makeCompletionEvent(), context())
  expect(answered).toBe(false)
  release()
  expect(await Promise.all([first, second])).toEqual([
    { handled: event.id, duplicate: false },
    { handled: event.id, duplicate: true },
  ])
  expect(receiver.received.filter(({ body }) => body.includes(event.id))).toHaveLength(1)
  expect(lines.filter((line) => line.includes(event.id))).toHaveLength(1)
})

test('an attempt that never settles is repeated after the time-out', async () => {
  let calls = 0
  const send = () => (++calls === 1 ? new Promise<void>(() => {}) : Promise.resolve())
  const { handle, lines } = handlerWithLog({ channels: [{ name: 'webhook', send }] })
  const event = makeCompletionEvent()
  const dropped = handle(event, context(5_000))
  const waiting = handle(event, context())
  const soon = vi.spyOn(Date, 'now').mockReturnValue(Date.now() + 5_001)
  try {
    expect(await handle(event, context())).toEqual({ handled: event.id, duplicate: false })
  } finally {
    soon.mockRestore()
  }
  expect(await handle(event, context())).toEqual({ handled: event.id, duplicate: true })
  expect(calls).toBe(2)
  expect(lines).toHaveLength(1)
  const ended = await Promise.race([dropped, waiting, Promise.resolve('still waiting')])
  expect(ended).toBe('still waiting')
})

test('a failed attempt fails its waiting repeats; a retry succeeds, and the log has one line', async () => {
  receiver.answerWith((response) => void response.writeHead(500).end())
  const { lines, handle } = handlerWithLog({ channels: webhook() })
  const event = makeCompletionEvent()
  const attempts = await Promise.allSettled([handle(event, context()), handle(event, context())])
  expect(attempts.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(receiver.received).toHaveLength(1)
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0] ?? '')).toMatchObject({
    message: 'task completed',
    event_id: event.id,
    told: [],
  })

  receiver.answerWith((response) => void response.writeHead(204).end())
  expect(await handle(event, context())).toEqual({ handled: event.id, duplicate: false })
  expect(receiver.received).toHaveLength(2)
  expect(lines).toHaveLength(1)
})

test('remembers the given number of events, the newest ones', async () => {
  const { lines, handle } = handlerWithLog({ remembered: 2 })
  const [a, b, c] = [makeCompletionEvent(), makeCompletionEvent(), makeCompletionEvent()]
  for (const event of [a, b, c]) await handle(event, context())
  expect(await handle(c, context())).toMatchObject({ duplicate: true })
  expect(await handle(b, context())).toMatchObject({ duplicate: true })
  expect(await handle(a, context())).toMatchObject({ duplicate: false })
  expect(lines).toHaveLength(4)
})

test('the webhook gets a text and the event as received, with unknown members', async () => {
  const { handle } = handlerWithLog({ channels: webhook() })
  const event = { ...makeCompletionEvent(), 'replay-name': 'later' }
  await handle(event, context())
  expect(receiver.received).toEqual([
    expect.objectContaining({ method: 'POST', url: '/hook', contentType: 'application/json' }),
  ])
  expect(JSON.parse(receiver.received[0]?.body ?? '')).toEqual({
    text: 'Task 7 completed by `ann`: `Fix the roof`',
    event,
  })
})

test.each([
  [
    'markup',
    '<!channel> <@U1> <https://x|y> &amp;',
    '&lt;!channel&gt; &lt;@U1&gt; &lt;https://x|y&gt; &amp;amp;',
  ],
  ['formatting stays inside inline code', '*b* _i_ ~s~ @channel https://x', '*b* _i_ ~s~ @channel https://x'],
  ['backticks cannot end the inline code', '`a` ``` b', 'ˋaˋ ˋˋˋ b'],
  ['line breaks', 'a\r\nb\u2028c\u0085d\te', 'a b c d e'],
  ['text that runs backwards', 'a\u202egpj.exe', 'a gpj.exe'],
  ['an invisible title', '\u0007', ' '],
])('a title in the text is data: %s', (_, title, shown) => {
  expect(chatText(messageOf(makeCompletionEvent({ title }, null), 1000).notification)).toBe(
    `Task 7 completed: \`${shown}\``,
  )
})

test('redirects are not followed', async () => {
  const elsewhere = await startWebhookReceiver()
  try {
    receiver.answerWith((response) => void response.writeHead(307, { location: elsewhere.url }).end())
    const { handle } = handlerWithLog({ channels: webhook() })
    await expect(handle(makeCompletionEvent(), context())).rejects.toThrow('Webhook failed: it answered 307')
    expect(elsewhere.received).toEqual([])
  } finally {
    await elsewhere.close()
  }
})

test('a webhook without an answer fails after its own time-out, or before the invocation ends', async () => {
  receiver.answerWith(() => {})
  const own = handlerWithLog({ channels: webhook(), timeoutMs: 50 })
  await expect(own.handle(makeCompletionEvent(), context())).rejects.toThrow('no answer within 50 ms')
  const invocation = handlerWithLog({ channels: webhook() })
  await expect(invocation.handle(makeCompletionEvent(), context(300))).rejects.toThrow(
    'no answer within 50 ms',
  )
})

test('the error for an unreachable webhook does not contain its URL', async () => {
  await receiver.close()
  const { handle } = handlerWithLog({ channels: webhook(`${receiver.url}/T0/secret`) })
  const error = await handle(makeCompletionEvent(), context()).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(Error)
  expect(String(error)).toContain('ECONNREFUSED')
  expect(String(error)).not.toContain('secret')
})
