import { createServer, type RequestListener } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { afterEach, expect, test } from 'vitest'
import {
  createLambdaClient,
  InvocationError,
  type LambdaClientOptions,
} from '../../src/outbox/lambda-client.ts'
import type { LambdaFunction } from '../../workers/lambda/lambda-function.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { createTestApi, credentials } from '../support/invoke-api.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function startServer(listener: RequestListener) {
  const server = createServer(listener)
  const port = await listenOnLoopback(server)
  closing.push(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${port}`
}

function startInvokeApi(handler: LambdaFunction) {
  const { app } = createTestApi(handler)
  return startServer(getRequestListener(app.fetch))
}

const client = (endpoint: string, options: Partial<LambdaClientOptions> = {}) =>
  createLambdaClient({
    endpoint,
    functionName: 'task-notifier',
    invocation: 'RequestResponse',
    region: 'us-east-1',
    credentials,
    timeoutMs: 10_000,
    ...options,
  })

async function failure(invoked: Promise<void>) {
  const error = await invoked.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof InvocationError)) throw new Error(`no InvocationError: ${error}`)
  return { message: error.message, ...error.failure, status: error.failure.status }
}

test.each([
  'task-notifier',
  'task-notifier:live',
  'arn:aws:lambda:us-east-1:123456789012:function:task-notifier',
])('the function %s gets the event', async (functionName) => {
  const events: unknown[] = []
  const endpoint = await startInvokeApi(async (event) => events.push(event))
  const event = makeCompletionEvent({ title: 'Ünïcode 🎉' })
  await client(endpoint, { functionName }).invoke(event)
  expect(events).toEqual([event])
})

test('accepts an endpoint with a path and a final slash', async () => {
  const paths: (string | undefined)[] = []
  const endpoint = await startServer((request, response) => {
    paths.push(request.url)
    response.end('{}')
  })
  await client(`${endpoint}/prefix/`).invoke(makeCompletionEvent())
  expect(paths).toEqual(['/prefix/2015-03-31/functions/task-notifier/invocations'])
})

test('throws the error of the function', async () => {
  const endpoint = await startInvokeApi(async () => {
    throw new TypeError(`boom\n${'x'.repeat(1000)}`)
  })
  const error = await failure(client(endpoint).invoke(makeCompletionEvent()))
  expect(error).toMatchObject({ status: 200, type: 'TypeError', retryable: true })
  expect(error.message).toMatch(/^function failed: TypeError: boom x+…$/)
  expect(error.message.length).toBeLessThanOrEqual(500)
})

test('a message is one line of printable characters, cut between characters', async () => {
  const endpoint = await startInvokeApi(async () => {
    throw new Error(`a\0b\u009b31m\ud800c ${'🐎'.repeat(300)}`)
  })
  const { message } = await failure(client(endpoint).invoke(makeCompletionEvent()))
  expect(message).toMatch(/^function failed: Error: a b 31m c 🐎+…$/u)
})

test.each<[string, Partial<LambdaClientOptions>, number, string]>([
  [
    'a wrong secret',
    { credentials: { ...credentials, secretAccessKey: 'other' } },
    403,
    'InvalidSignatureException',
  ],
  [
    'an unknown key',
    { credentials: { ...credentials, accessKeyId: 'AKOTHER' } },
    403,
    'UnrecognizedClientException',
  ],
  ['another region', { region: 'eu-west-1' }, 403, 'InvalidSignatureException'],
  ['an unknown function', { functionName: 'nope' }, 404, 'ResourceNotFoundException'],
  ['Event, where there is no queue', { invocation: 'Event' }, 400, 'InvalidParameterValueException'],
])('%s is retryable, since an operator can correct it', async (_, options, status, type) => {
  const endpoint = await startInvokeApi(async () => null)
  const error = await failure(client(endpoint, options).invoke(makeCompletionEvent()))
  expect(error).toMatchObject({ status, type, retryable: true })
  expect(error.message).toMatch(new RegExp(`^answered ${status}: ${type}: .+`))
})

test('a refused event is not retryable', async () => {
  const endpoint = await startInvokeApi(async () => null)
  const huge = makeCompletionEvent({ description: 'x'.repeat(7 * 1024 * 1024) })
  expect(await failure(client(endpoint).invoke(huge))).toMatchObject({ status: 413, retryable: false })
})

test('Event resolves when the event is queued', async () => {
  const types: unknown[] = []
  const endpoint = await startServer((request, response) => {
    types.push(request.headers['x-amz-invocation-type'])
    response.writeHead(202).end()
  })
  await client(endpoint, { invocation: 'Event' }).invoke(makeCompletionEvent())
  expect(types).toEqual(['Event'])
  // 202 for RequestResponse means that the event was not handled.
  expect(await failure(client(endpoint).invoke(makeCompletionEvent()))).toMatchObject({
    status: 202,
    retryable: true,
  })
})

test.each([
  ['7', 7000],
  [new Date(0).toUTCString(), 0],
  ['soon', undefined],
])('throttled with Retry-After %s', async (retryAfter, retryAfterMs) => {
  const endpoint = await startServer((_, response) => {
    response
      .writeHead(429, {
        'retry-after': retryAfter,
        'x-amzn-errortype': 'TooManyRequestsException:http://internal/',
      })
      .end(
        '{"Type":"User","Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}',
      )
  })
  const error = await failure(client(endpoint).invoke(makeCompletionEvent()))
  expect(error).toMatchObject({
    status: 429,
    type: 'TooManyRequestsException',
    retryable: true,
    retryAfterMs,
  })
  expect(error.message).toBe('answered 429: TooManyRequestsException: Rate Exceeded.')
})

test('redirects are not followed', async () => {
  let followed = false
  const elsewhere = await startServer((_, response) => {
    followed = true
    response.end('{}')
  })
  const endpoint = await startServer((_, response) => {
    response.writeHead(307, { location: elsewhere }).end()
  })
  expect(await failure(client(endpoint).invoke(makeCompletionEvent()))).toMatchObject({
    status: 307,
    retryable: true,
  })
  expect(followed).toBe(false)
})

test('reads only the start of an endless answer', async () => {
  const endpoint = await startServer((_, response) => {
    response.writeHead(500, { 'content-type': 'text/html' })
    const chunk = '<p>'.repeat(10_000)
    const write = () => {
      while (response.write(chunk));
    }
    response.on('drain', write)
    write()
  })
  expect(await failure(client(endpoint).invoke(makeCompletionEvent()))).toMatchObject({
    status: 500,
    message: 'answered 500',
    retryable: true,
  })
})

test('the head decides the outcome of an answer that breaks off', async () => {
  const endpoint = await startServer((_, response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('{"handled"', () => response.destroy())
  })
  await client(endpoint).invoke(makeCompletionEvent())
})

test('no answer: no server, a broken connection, a time-out', async () => {
  const nobody = `http://127.0.0.1:${await findFreePort()}`
  const refused = await failure(client(nobody).invoke(makeCompletionEvent()))
  expect(refused).toMatchObject({ status: undefined, retryable: true })
  expect(refused.message).toMatch(/^no answer: .*ECONNREFUSED/)

  const broken = await startServer((request) => void request.socket.destroy())
  expect(await failure(client(broken).invoke(makeCompletionEvent()))).toMatchObject({ retryable: true })

  const silent = await startServer(() => {})
  const late = await failure(client(silent, { timeoutMs: 50 }).invoke(makeCompletionEvent()))
  expect(late).toMatchObject({ message: 'no answer within 50 ms', retryable: true })
})

test('a service binding replaces fetch', async () => {
  const events: unknown[] = []
  const { app } = createTestApi(async (event) => events.push(event))
  const bound = client('http://notifier', { fetch: async (url, init) => app.fetch(new Request(url, init)) })
  const event = makeCompletionEvent()
  await bound.invoke(event)
  expect(events).toEqual([event])
})

test('sends and signs a session token, so that it cannot be changed or removed', async () => {
  const tokens: unknown[] = []
  const { app } = createTestApi(async () => null)
  const endpoint = await startServer((request, response) => {
    tokens.push(request.headers['x-amz-security-token'])
    getRequestListener(app.fetch)(request, response)
  })
  const session = { ...credentials, sessionToken: 'AQoDYXdzEJr//session+token==' }
  await client(endpoint, { credentials: session }).invoke(makeCompletionEvent())
  expect(tokens).toEqual([session.sessionToken])

  const changes: ((headers: Headers) => void)[] = [
    (headers) => headers.set('x-amz-security-token', 'another'),
    (headers) => headers.delete('x-amz-security-token'),
  ]
  for (const change of changes) {
    const tampering = client(endpoint, {
      credentials: session,
      fetch: (url, init) => {
        const headers = new Headers(init.headers)
        change(headers)
        return fetch(url, { ...init, headers })
      },
    })
    const error = await failure(tampering.invoke(makeCompletionEvent()))
    expect(error).toMatchObject({ status: 403, type: 'InvalidSignatureException' })
  }
})

test('gets credentials before each invocation, and reports refused ones to their source', async () => {
  const endpoint = await startInvokeApi(async () => null)
  const wrong = { ...credentials, secretAccessKey: 'revoked' }
  const answers = [credentials, wrong, credentials, credentials]
  const refused: unknown[] = []
  const { invoke } = client(endpoint, {
    credentials: async (before) => {
      refused.push(before)
      return answers.shift() ?? credentials
    },
  })
  await invoke(makeCompletionEvent())
  expect(await failure(invoke(makeCompletionEvent()))).toMatchObject({ status: 403 })
  await invoke(makeCompletionEvent())
  await invoke(makeCompletionEvent())
  expect(refused).toEqual([undefined, undefined, wrong, undefined])
})

test('missing credentials count as no answer', async () => {
  const endpoint = await startInvokeApi(async () => null)
  const none = client(endpoint, {
    credentials: async () => {
      throw new Error('no credentials from 169.254.170.2: it answered 500')
    },
  })
  expect(await failure(none.invoke(makeCompletionEvent()))).toMatchObject({
    message: 'no credentials from 169.254.170.2: it answered 500',
    status: undefined,
    retryable: true,
  })
})
