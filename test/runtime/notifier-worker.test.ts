/** The bundle that `wrangler deploy` uploads, called by the official SDK. */
import { InvokeCommand, type InvokeCommandInput, LambdaClient } from '@aws-sdk/client-lambda'
import { Miniflare } from 'miniflare'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'
import { bundleWorkers } from '../support/workerd-targets.ts'

const credentials = { accessKeyId: 'worker', secretAccessKey: 'known-to-both-ends' }
const patience = { timeout: 60_000, interval: 20 }

let miniflare: Miniflare
let lambda: LambdaClient
let receiver: Awaited<ReturnType<typeof startWebhookReceiver>>

beforeAll(async () => {
  receiver = await startWebhookReceiver()
  const { notifier } = await bundleWorkers()
  miniflare = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    modules: [{ type: 'ESModule', path: 'worker.js', contents: notifier }],
    compatibilityDate: '2026-04-01',
    compatibilityFlags: ['nodejs_compat'],
    bindings: {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      NOTIFY_WEBHOOK_URL: receiver.url,
      NOTIFIER_CONCURRENCY: '2',
      LOG_LEVEL: 'silent',
    },
  })
  const url = await miniflare.ready
  lambda = new LambdaClient({ endpoint: url.origin, region: 'us-east-1', credentials, maxAttempts: 1 })
})
afterAll(async () => {
  lambda?.destroy()
  await miniflare?.dispose()
  await receiver?.close()
})
afterEach(() => receiver.answerWith((response) => void response.writeHead(200).end()))

const invoke = (input: Partial<InvokeCommandInput> = {}) =>
  lambda.send(
    new InvokeCommand({
      FunctionName: 'task-notifier',
      Payload: JSON.stringify(makeCompletionEvent()),
      ...input,
    }),
  )

test('RequestResponse with its log tail', async () => {
  const event = makeCompletionEvent({ title: 'At the edge' })
  const answer = await invoke({ Payload: JSON.stringify(event), LogType: 'Tail' })
  expect(answer).toMatchObject({
    StatusCode: 200,
    ExecutedVersion: '$LATEST',
    $metadata: { httpStatusCode: 200 },
  })
  expect(JSON.parse(answer.Payload?.transformToString() ?? '')).toEqual({
    handled: event.id,
    duplicate: false,
  })
  const lines = Buffer.from(answer.LogResult ?? '', 'base64')
    .toString()
    .trimEnd()
    .split('\n')
  expect(lines[0]).toBe(`START RequestId: ${answer.$metadata.requestId} Version: $LATEST`)
  expect(JSON.parse(lines[1] ?? '')).toMatchObject({
    message: 'task completed',
    title: 'At the edge',
    request_id: answer.$metadata.requestId,
  })
  expect(lines.at(-1)).toMatch(/^REPORT RequestId: /)
})

test('the handler recognizes a repeated event in the same isolate', async () => {
  const Payload = JSON.stringify(makeCompletionEvent())
  await invoke({ Payload })
  const again = await invoke({ Payload })
  expect(JSON.parse(again.Payload?.transformToString() ?? '')).toMatchObject({ duplicate: true })
})

test('answers an error of the function, DryRun, and an Event without a queue', async () => {
  expect(await invoke({ Payload: '{}' })).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' })
  expect(await invoke({ InvocationType: 'DryRun' })).toMatchObject({ StatusCode: 204 })
  await expect(invoke({ InvocationType: 'Event' })).rejects.toMatchObject({
    name: 'InvalidParameterValueException',
    message: expect.stringMatching(/^InvocationType Event needs a durable queue[^\n]+$/),
  })
})

test('does not call a throttled webhook for any request until the wait ends', async () => {
  receiver.answerWith((response) => void response.writeHead(429, { 'retry-after': '8' }).end())
  const calls = receiver.received.length
  for (let i = 0; i < 3; i++) {
    const { FunctionError, Payload } = await invoke()
    expect(FunctionError).toBe('Unhandled')
    expect(JSON.parse(Payload?.transformToString() ?? '')).toMatchObject({
      errorType: 'ChannelThrottled',
      errorMessage: expect.stringMatching(
        /^again in \d+ ms: Webhook (throttles: it answered 429|is throttled)$/,
      ),
    })
  }
  expect(receiver.received).toHaveLength(calls + 1)
  receiver.answerWith((response) => void response.writeHead(200).end())
  await vi.waitFor(async () => expect(await invoke()).not.toHaveProperty('FunctionError'), patience)
})

test('throttles above its concurrency, and accepts requests afterwards', async () => {
  const held: (() => void)[] = []
  receiver.answerWith(
    (response) => new Promise((resolve) => held.push(() => resolve(void response.writeHead(200).end()))),
  )
  const two = [invoke(), invoke()]
  await vi.waitFor(() => expect(held).toHaveLength(2), patience)
  await expect(invoke()).rejects.toMatchObject({
    name: 'TooManyRequestsException',
    Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    $metadata: { httpStatusCode: 429 },
  })
  for (const release of held) release()
  await Promise.all(two)
  receiver.answerWith((response) => void response.writeHead(200).end())
  expect(await invoke()).toMatchObject({ StatusCode: 200 })
})

test('does not call a webhook that is gone', async () => {
  receiver.answerWith((response) => void response.writeHead(410).end())
  const calls = receiver.received.length
  for (let i = 0; i < 3; i++) {
    const { Payload } = await invoke()
    expect(JSON.parse(Payload?.transformToString() ?? '')).toMatchObject({ stopped: ['webhook'] })
  }
  expect(receiver.received).toHaveLength(calls + 1)
})
