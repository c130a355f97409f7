import { AwsV4Signer } from 'aws4fetch'
import { expect, test } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { createExecution } from '../../workers/lambda/execution.ts'
import type { LambdaContext, LambdaFunction } from '../../workers/lambda/lambda-function.ts'
import { createTestApi, credentials } from '../support/invoke-api.ts'

const origin = 'http://127.0.0.1:3001'

const createApi = (handler: LambdaFunction = async (event) => ({ event }), timeoutMs = 10_000) =>
  createTestApi(handler, { timeoutMs })

type Call = {
  name?: string
  query?: string
  headers?: Record<string, string>
  /** Added after signing. */
  extraHeaders?: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer>
}

async function invoke({ app }: Pick<ReturnType<typeof createApi>, 'app'>, call: Call = {}) {
  const { name = 'task-notifier', query = '', headers = {}, extraHeaders = {}, body = '{"a":1}' } = call
  const signed = await new AwsV4Signer({
    method: 'POST',
    url: `${origin}/2015-03-31/functions/${name}/invocations${query}`,
    headers,
    body,
    region: 'us-east-1',
    service: 'lambda',
    ...credentials,
  }).sign()
  const response = await app.request(signed.url.href, {
    method: 'POST',
    headers: [...signed.headers, ...Object.entries(extraHeaders)],
    body,
  })
  return {
    status: response.status,
    type: response.headers.get('x-amzn-errortype'),
    functionError: response.headers.get('x-amz-function-error'),
    version: response.headers.get('x-amz-executed-version'),
    requestId: response.headers.get('x-amzn-requestid'),
    body: await response.text(),
  }
}

const isUuid = expect.stringMatching(/^[0-9a-f-]{36}$/)

test('RequestResponse, the default, answers with the result of the function', async () => {
  for (const headers of [{}, { 'x-amz-invocation-type': 'RequestResponse' }]) {
    expect(await invoke(createApi(), { headers })).toEqual({
      status: 200,
      type: null,
      functionError: null,
      version: '$LATEST',
      requestId: isUuid,
      body: '{"event":{"a":1}}',
    })
  }
})

test.each(['application/octet-stream', 'application/json', 'text/plain', ''])(
  'content type %o is accepted',
  async (type) => {
    expect(await invoke(createApi(), { headers: type ? { 'content-type': type } : {} })).toMatchObject({
      status: 200,
    })
  },
)

test('an empty body is the event {}; the result undefined is null', async () => {
  expect(await invoke(createApi(), { body: '' })).toMatchObject({ body: '{"event":{}}' })
  expect(await invoke(createApi(async () => undefined))).toMatchObject({ status: 200, body: 'null' })
})

test('the function gets the context that AWS gives', async () => {
  let context: LambdaContext | undefined
  const api = createApi(async (_, given) => {
    context = given
  })
  const clientContext = Buffer.from('{"custom":{"é":1}}').toString('base64')
  const { requestId } = await invoke(api, {
    name: 'task-notifier:live',
    headers: { 'x-amz-client-context': clientContext },
  })
  expect(context).toMatchObject({
    functionName: 'task-notifier',
    functionVersion: '$LATEST',
    invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:task-notifier:live',
    memoryLimitInMB: '128',
    awsRequestId: requestId,
    clientContext: { custom: { é: 1 } },
    callbackWaitsForEmptyEventLoop: true,
  })
  const remaining = context?.getRemainingTimeInMillis()
  expect(remaining).toBeGreaterThan(0)
  expect(remaining).toBeLessThanOrEqual(10_000)
})

test.each([
  'task-notifier',
  'task-notifier:live',
  'task-notifier:$LATEST',
  'function:task-notifier',
  '123456789012:function:task-notifier',
  '123456789012%3Afunction%3Atask-notifier',
  'arn:aws:lambda:us-east-1:123456789012:function:task-notifier',
  'arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Atask-notifier%3Alive',
])('finds the function by %s', async (name) => {
  expect(await invoke(createApi(), { name })).toMatchObject({ status: 200 })
})

test.each([
  ['nope', ''],
  ['task-notifier:7', ''],
  ['task-notifier', '?Qualifier=7'],
  ['task-notifier', '?Qualifier='],
  ['task-notifier', '?Qualifier=a%20b'],
  ['arn:aws:lambda:eu-west-1:123456789012:function:task-notifier', ''],
  ['arn:aws:sqs:us-east-1:123456789012:task-notifier', ''],
  ['%00', ''],
  ['%zz', ''],
  ['a%2Fb', ''],
])('answers 404 for the function %s%s', async (name, query) => {
  expect(await invoke(createApi(), { name, query })).toMatchObject({
    status: 404,
    type: 'ResourceNotFoundException',
  })
})

test('accepts two qualifiers only if they are equal', async () => {
  const named = (query: string) => invoke(createApi(), { name: 'task-notifier:live', query })
  expect(await named('?Qualifier=live')).toMatchObject({ status: 200 })
  expect(await named('?Qualifier=test')).toMatchObject({
    status: 400,
    type: 'InvalidParameterValueException',
  })
  expect(await invoke(createApi(), { query: '?Qualifier=a&Qualifier=b' })).toMatchObject({ status: 400 })
})

test('DryRun does not run the function', async () => {
  let runs = 0
  const api = createApi(async () => {
    runs += 1
  })
  const headers = { 'x-amz-invocation-type': 'DryRun' }
  expect(await invoke(api, { headers, body: '' })).toMatchObject({ status: 204, body: '', requestId: isUuid })
  expect(await invoke(api, { headers, name: 'nope' })).toMatchObject({ status: 404 })
  expect(runs).toBe(0)
})

test('Event and unknown types are refused', async () => {
  const event = await invoke(createApi(), { headers: { 'x-amz-invocation-type': 'Event' } })
  expect(event).toMatchObject({ status: 400, type: 'InvalidParameterValueException' })
  expect(event.body).toContain('use RequestResponse')
  const unknown = await invoke(createApi(), { headers: { 'x-amz-invocation-type': 'Later' } })
  expect(unknown).toMatchObject({ status: 400, type: 'InvalidParameterValueException' })
})

test.each(['{', 'x', '{"a":1}}', new Uint8Array([0x22, 0xff, 0x22])])(
  'refuses a body that is not JSON: %o',
  async (body) => {
    const answer = await invoke(createApi(), { body })
    expect(answer).toMatchObject({ status: 400, type: 'InvalidRequestContentException' })
    expect(JSON.parse(answer.body)).toEqual({
      Type: 'User',
      Message: expect.any(String),
      message: expect.any(String),
    })
  },
)

test.each(['x', '%', btoa('['), btoa(`"${'x'.repeat(3600)}"`)])(
  'refuses a malformed client context: %o',
  async (value) => {
    const answer = await invoke(createApi(), { headers: { 'x-amz-client-context': value } })
    expect(answer).toMatchObject({ status: 400, type: 'InvalidRequestContentException' })
  },
)

test('a body over 6 MB is refused', async () => {
  const body = new Uint8Array(6 * 1024 * 1024 + 1).fill(0x20)
  expect(await invoke(createApi(), { body })).toMatchObject({ status: 413, type: 'RequestTooLargeException' })
  expect(
    await invoke(
      createApi(async () => 1),
      { body: body.subarray(2).fill(0x31, 0, 1) },
    ),
  ).toMatchObject({ status: 200 })
})

test('answers 200 with the error object when the function throws', async () => {
  const api = createApi(async () => {
    throw new TypeError('boom')
  })
  const answer = await invoke(api)
  expect(answer).toMatchObject({ status: 200, functionError: 'Unhandled', version: '$LATEST', type: null })
  expect(JSON.parse(answer.body)).toEqual({
    errorType: 'TypeError',
    errorMessage: 'boom',
    trace: expect.arrayContaining(['TypeError: boom']),
  })
  expect(api.lines).toMatchObject([
    { level: 'error', message: 'invocation failed', request_id: answer.requestId },
  ])
})

test('a thrown value that is no Error, and a result that is not JSON, are errors of the function', async () => {
  const thrown = await invoke(createApi(() => Promise.reject('why')))
  expect(JSON.parse(thrown.body)).toEqual({ errorType: 'string', errorMessage: 'why' })
  const textless = await invoke(createApi(() => Promise.reject(Object.create(null))))
  expect(JSON.parse(textless.body)).toEqual({ errorType: 'object', errorMessage: '[object Object]' })
  const circular: Record<string, unknown> = {}
  circular.self = circular
  expect(await invoke(createApi(async () => circular))).toMatchObject({
    status: 200,
    functionError: 'Unhandled',
  })
})

test('reports a time-out of the function as AWS does', async () => {
  const answer = await invoke(createApi(() => new Promise(() => {}), 50))
  expect(answer).toMatchObject({ status: 200, functionError: 'Unhandled' })
  expect(JSON.parse(answer.body)).toEqual({
    errorType: 'Sandbox.Timedout',
    errorMessage: `RequestId: ${answer.requestId} Error: Task timed out after 0.05 seconds`,
  })
})

test('checks the signature before it looks for the function', async () => {
  const answer = await invoke(createApi(), {
    name: 'nope',
    extraHeaders: { authorization: 'AWS4-HMAC-SHA256 x' },
  })
  expect(answer).toMatchObject({ status: 403, requestId: isUuid })
})

test.each(['/2015-03-31/functions/task-notifier/invocations', '/inspection/redrive'])(
  'does not read the body of a caller without the key: %s',
  async (path) => {
    const { app } = createApi()
    for (const accessKeyId of ['AKOTHER', undefined]) {
      const { headers } = accessKeyId
        ? await new AwsV4Signer({
            method: 'POST',
            url: `${origin}${path}`,
            region: 'us-east-1',
            service: 'lambda',
            ...credentials,
            accessKeyId,
          }).sign()
        : new Request(origin)
      // The body never ends. Reading it would count a part, and reading all of it would take forever.
      let parts = 0
      const body = new ReadableStream(
        {
          pull(controller) {
            parts++
            controller.enqueue(new Uint8Array(1024))
          },
        },
        { highWaterMark: 0 },
      )
      const request = new Request(`${origin}${path}`, { method: 'POST', headers, body, duplex: 'half' })
      expect((await app.request(request)).status).toBe(403)
      expect(parts).toBe(0)
    }
  },
)

test('refuses an unsigned x-amz header', async () => {
  for (const extraHeaders of [
    { 'x-amz-invocation-type': 'DryRun' },
    { 'x-amz-log-type': 'Tail' },
    { 'x-amz-client-context': 'e30=' },
  ]) {
    const answer = await invoke(createApi(), { extraHeaders })
    expect(answer).toMatchObject({ status: 403, type: 'InvalidSignatureException' })
    expect(answer.body).toContain(`'${Object.keys(extraHeaders)[0]}' is in the request, but not among`)
  }
})

test('refuses a request from a browser, even if it is signed', async () => {
  const api = createApi()
  const answer = await invoke(api, { extraHeaders: { origin: 'https://example.com' } })
  expect(answer).toMatchObject({ status: 403, type: 'AccessDeniedException', requestId: isUuid })
  expect(api.lines).toMatchObject([
    { level: 'warn', message: 'invocation refused', type: 'AccessDeniedException' },
  ])
})

test('answers /healthz, and 404 for unknown paths', async () => {
  const { app } = createApi()
  expect((await app.request('/healthz')).status).toBe(200)
  expect((await app.request('/healthz', { headers: { origin: 'null' } })).status).toBe(403)
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/2015-03-31/functions/task-notifier/invocations'],
    ['POST', '/2014-11-13/functions/task-notifier/invoke-async'],
  ] as const) {
    const response = await app.request(path, { method })
    expect(response.status).toBe(404)
    expect(response.headers.get('x-amzn-errortype')).toBe('UnknownOperationException')
  }
})

test('takes the name from an ARN, and refuses a malformed name', () => {
  const options = {
    load: () => async () => null,
    concurrency: 1,
    timeoutMs: 1,
    log: createLogger('silent'),
  }
  expect(() => createExecution({ ...options, functionName: 'not a name' })).toThrow('not a name')
  const functionName = 'arn:aws:lambda:us-east-1:123456789012:function:task-notifier:live'
  expect(createExecution({ ...options, functionName }).functionName).toBe('task-notifier')
})
