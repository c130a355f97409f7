/** One handler on four hosts, with the same results. */
import { Miniflare } from 'miniflare'
import { Webhook } from 'standardwebhooks'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type createLambdaClient, sendInvocation } from '../../src/outbox/lambda-client.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { startLambda } from '../support/lambda.ts'
import { startNotifier } from '../support/lambda-targets.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'
import { bundleWorkers } from '../support/workerd-targets.ts'

type Event = ReturnType<typeof makeCompletionEvent>
/** Resolves with the result of the handler. */
type Invoke = (event: Event) => Promise<unknown>

const credentials = { accessKeyId: 'test', secretAccessKey: 'the-key-that-both-workers-have' }
const secret = `whsec_${Buffer.from('a secret of the webhook: 32 bytes').toString('base64')}`
const mail = { SMTP_URL: 'smtp://user:hunter2@127.0.0.1', NOTIFY_EMAIL_TO: 'ops@example.com' }
const ways = new Map<string, Invoke>()
let notifierBundle: string
const stops: (() => Promise<unknown>)[] = []
let webhook: Awaited<ReturnType<typeof startWebhookReceiver>>

/** Invokes by HTTP with the API's own client. */
const overHttp =
  (
    endpoint: string,
    keys: typeof credentials,
    fetch?: Parameters<typeof createLambdaClient>[0]['fetch'],
  ): Invoke =>
  async (event) => {
    const answer = await sendInvocation(
      {
        endpoint,
        functionName: 'task-notifier',
        invocation: 'RequestResponse',
        region: 'eu-central-1',
        credentials: keys,
        timeoutMs: 60_000,
        ...(fetch ? { fetch } : {}),
      },
      JSON.stringify(event),
    )
    expect(answer).toMatchObject({ status: 200 })
    return JSON.parse(answer.payload)
  }

beforeAll(async () => {
  webhook = await startWebhookReceiver()
  stops.push(webhook.close)

  const node = await startNotifier(webhook.url, { NOTIFY_WEBHOOK_SECRET: secret })
  stops.push(node.stop)
  const { NOTIFIER_ENDPOINT: endpoint, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY } = node.settings
  ways.set(
    'a process of Node',
    overHttp(endpoint, { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY }),
  )

  notifierBundle = (await bundleWorkers()).notifier
  const module = (contents: string) => [{ type: 'ESModule' as const, path: 'worker.js', contents }]
  const workerd = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    workers: [
      {
        name: 'caller',
        compatibilityDate: '2026-04-01',
        // Passes the request to its service binding.
        modules: module('export default { fetch: (request, env) => env.NOTIFIER.fetch(request) }'),
        serviceBindings: { NOTIFIER: 'notifier' },
      },
      {
        name: 'notifier',
        compatibilityDate: '2026-04-01',
        compatibilityFlags: ['nodejs_compat'],
        modules: module(notifierBundle),
        bindings: {
          AWS_REGION: 'eu-central-1',
          AWS_ACCESS_KEY_ID: credentials.accessKeyId,
          AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
          NOTIFY_WEBHOOK_URL: webhook.url,
          NOTIFY_WEBHOOK_SECRET: secret,
          LOG_LEVEL: 'error',
        },
        unsafeDirectSockets: [{ host: '127.0.0.1', port: 0 }],
      },
    ],
  })
  stops.push(() => workerd.dispose())
  const caller = await workerd.ready
  ways.set('a Worker, by service binding', overHttp(caller.origin, credentials))
  const direct = await workerd.unsafeGetDirectURL('notifier')
  ways.set('a Worker, over HTTP', overHttp(direct.origin, credentials))

  const lambda = await startLambda('notifier', {
    NOTIFY_WEBHOOK_URL: webhook.url,
    NOTIFY_WEBHOOK_SECRET: secret,
  })
  stops.push(lambda.stop)
  ways.set('a Lambda function, behind the Runtime API', async (event) => {
    const { payload, error } = await lambda.invoke(event)
    expect(error).toBeUndefined()
    return payload
  })
})
afterAll(async () => {
  await Promise.all(stops.map((stop) => stop()))
})

test.each([
  'a process of Node',
  'a Worker, by service binding',
  'a Worker, over HTTP',
  'a Lambda function, behind the Runtime API',
])('%s handles an event and recognizes its repeat', async (way) => {
  const invoke = ways.get(way)
  const title = `Fix the roof, ${way}`
  const event = makeCompletionEvent({ title })
  expect(await invoke?.(event)).toEqual({ handled: event.id, duplicate: false })
  expect(await invoke?.(event)).toEqual({ handled: event.id, duplicate: true })
  const posted = webhook.received.filter(({ body }) => JSON.parse(body).event.id === event.id)
  expect(posted.map(({ body }) => JSON.parse(body).text)).toEqual([expect.stringContaining(title)])
  // Each runtime signs with its own cryptography.
  for (const { body, headers } of posted)
    expect(new Webhook(secret).verify(body, headers as Record<string, string>)).toMatchObject({ event })
})

test('a Lambda function reports the wait of a throttled webhook, and continues without one that is gone', async ({
  onTestFinished,
}) => {
  const receiver = await startWebhookReceiver()
  onTestFinished(() => void receiver.close())
  async function start() {
    const lambda = await startLambda('notifier', { NOTIFY_WEBHOOK_URL: receiver.url })
    onTestFinished(() => lambda.stop())
    return () => lambda.invoke(makeCompletionEvent())
  }
  receiver.answerWith((response) => void response.writeHead(410).end())
  expect((await (await start())()).payload).toMatchObject({ stopped: ['webhook'] })
  receiver.answerWith((response) => void response.writeHead(429, { 'retry-after': '60' }).end())
  const invoke = await start()
  const throttled = {
    errorType: 'ChannelThrottled',
    errorMessage: expect.stringMatching(/^again in \d+ ms: /),
  }
  expect((await invoke()).error).toMatchObject(throttled)
  expect((await invoke()).error).toMatchObject(throttled)
  expect(receiver.received).toHaveLength(2)
})

const refusal = /SMTP_URL: mail is sent by the notifier on Node only; unset it here/

test('a Worker with mail settings refuses every event with the reason', async ({ onTestFinished }) => {
  const workerd = new Miniflare({
    host: '127.0.0.1',
    port: 0,
    compatibilityDate: '2026-04-01',
    compatibilityFlags: ['nodejs_compat'],
    modules: [{ type: 'ESModule', path: 'worker.js', contents: notifierBundle }],
    bindings: {
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      ...mail,
    },
  })
  onTestFinished(() => workerd.dispose())
  const { origin } = await workerd.ready
  const answer = await sendInvocation(
    {
      endpoint: origin,
      functionName: 'task-notifier',
      invocation: 'RequestResponse',
      region: 'us-east-1',
      credentials,
      timeoutMs: 60_000,
    },
    JSON.stringify(makeCompletionEvent()),
  )
  expect(answer.status).toBe(500)
  expect(answer.payload).toMatch(refusal)
  expect(answer.payload).not.toContain('hunter2')
})

test('a Lambda function with mail settings fails with the reason', async ({ onTestFinished }) => {
  const lambda = await startLambda('notifier', mail)
  onTestFinished(() => lambda.stop())
  const { error } = await lambda.invoke(makeCompletionEvent())
  expect(JSON.stringify(error)).toMatch(refusal)
  expect(JSON.stringify([error, lambda.lines])).not.toContain('hunter2')
})
