/** The Invoke API through AWS's official SDK, with functions of the tests and a queue on a real Postgres. */
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  InvalidParameterValueException,
  InvalidRequestContentException,
  InvokeCommand,
  type InvokeCommandInput,
  LambdaClient,
  type LambdaClientConfig,
  RequestTooLargeException,
  ResourceNotFoundException,
  ServiceException,
  TooManyRequestsException,
} from '@aws-sdk/client-lambda'
import { getRequestListener } from '@hono/node-server'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createDatabase, valueOptions } from '../../src/runtime/postgres/postgres.ts'
import { startEventQueue } from '../../workers/lambda/event-queue.ts'
import type { LambdaContext, LambdaFunction } from '../../workers/lambda/lambda-function.ts'
import { installLogCapture } from '../../workers/lambda/log-capture.ts'
import { createApiOver, createTestExecution, credentials } from '../support/invoke-api.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'
import { migrateDatabase } from '../support/processes.ts'

const patience = { timeout: 60_000, interval: 20 }
const isUuid = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
const cleanups: (() => unknown)[] = []
let server: TestPostgres

beforeAll(async () => {
  // The functions' output matters only in their log tails.
  for (const method of ['debug', 'error', 'log'] as const)
    vi.spyOn(console, method).mockImplementation(() => {})
  installLogCapture()
  server = await startTestPostgres()
  await migrateDatabase(server.url())
})
afterAll(() => server?.stop())
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await server.sql()`delete from notifier_events`
})

type Options = { timeoutMs?: number; concurrency?: number; databaseUrl?: string; sdk?: LambdaClientConfig }

/** Returns `invoke`, by the SDK, which tries once by default. */
async function serve(handler: LambdaFunction, { databaseUrl = server.url(), sdk, ...options }: Options = {}) {
  const { execution, log, lines } = createTestExecution(handler, options)
  const db = createDatabase((own) => postgres(databaseUrl, { ...valueOptions, ...own }), {
    poolSize: 2,
    timeoutMs: 10_000,
  })
  const queue = startEventQueue({
    db,
    execution,
    retryDelaysMs: [10, 20],
    maximumAgeMs: 60_000,
    leaseMs: 15_000,
    log,
  })
  const http = createServer(getRequestListener(createApiOver(execution, { log, queue }).fetch))
  const endpoint = `http://127.0.0.1:${await listenOnLoopback(http)}`
  const lambda = new LambdaClient({ endpoint, region: 'us-east-1', credentials, maxAttempts: 1, ...sdk })
  cleanups.push(async () => {
    lambda.destroy()
    http.closeAllConnections()
    await queue.stop()
    await db.close()
  })
  const invoke = (input: Partial<InvokeCommandInput> = {}) =>
    lambda.send(new InvokeCommand({ FunctionName: 'task-notifier', ...input }))
  return { invoke, lines }
}

const result = ({ Payload }: { Payload?: { transformToString(): string } }) =>
  JSON.parse(Payload?.transformToString() ?? '')
const logOf = ({ LogResult }: { LogResult?: string | undefined }) =>
  Buffer.from(LogResult ?? '', 'base64').toString()
const json = (value: unknown) => JSON.stringify(value)

describe('RequestResponse', () => {
  test('returns the result of the function, and only the members that were asked for', async () => {
    const { invoke } = await serve(async (event) => ({ event }))
    const answer = await invoke({ Payload: json({ a: 1 }) })
    expect(answer).toEqual({
      $metadata: { httpStatusCode: 200, requestId: isUuid, attempts: 1, totalRetryDelay: 0 },
      StatusCode: 200,
      ExecutedVersion: '$LATEST',
      Payload: expect.anything(),
    })
    expect(result(answer)).toEqual({ event: { a: 1 } })
    expect(result(await invoke())).toEqual({ event: {} })
  })

  test('accepts every form of the function name', async () => {
    const arns: string[] = []
    const { invoke } = await serve(async (_, context) => void arns.push(context.invokedFunctionArn))
    const arn = 'arn:aws:lambda:us-east-1:123456789012:function:task-notifier'
    await invoke({ FunctionName: 'task-notifier:live' })
    await invoke({ Qualifier: '$LATEST' })
    await invoke({ FunctionName: '123456789012:function:task-notifier', Qualifier: 'live' })
    await invoke({ FunctionName: arn })
    await invoke({ FunctionName: `${arn}:live`, Qualifier: 'live' })
    expect(arns.map((one) => one.replace(/\d{12}/, 'N'))).toEqual(
      [':live', ':$LATEST', ':live', '', ':live'].map(
        (qualifier) => `${arn.replace(/\d{12}/, 'N')}${qualifier}`,
      ),
    )
  })

  test('an error of the function', async () => {
    const { invoke, lines } = await serve(async () => {
      throw new RangeError('boom')
    })
    const answer = await invoke()
    expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled', ExecutedVersion: '$LATEST' })
    expect(result(answer)).toEqual({
      errorType: 'RangeError',
      errorMessage: 'boom',
      trace: expect.arrayContaining(['RangeError: boom']),
    })
    expect(lines).toMatchObject([{ level: 'error', request_id: answer.$metadata.requestId }])
  })

  test('a time-out', async () => {
    const { invoke } = await serve(() => new Promise(() => {}), { timeoutMs: 50, concurrency: 1 })
    // The second invocation gets an environment although the first function still runs.
    for (let time = 0; time < 2; time++) {
      const answer = await invoke({ LogType: 'Tail' })
      expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' })
      expect(result(answer)).toEqual({
        errorType: 'Sandbox.Timedout',
        errorMessage: `RequestId: ${answer.$metadata.requestId} Error: Task timed out after 0.05 seconds`,
      })
      expect(logOf(answer)).toMatch(/\tStatus: timeout\n$/)
    }
  })

  test('a result above 6 MB', async () => {
    const { invoke } = await serve(async (event) => 'x'.repeat(Number(event)))
    expect((await invoke({ Payload: String(6 * 1024 * 1024) })).FunctionError).toBeUndefined()
    const answer = await invoke({ Payload: String(6 * 1024 * 1024 + 200) })
    expect(answer).toMatchObject({ StatusCode: 200, FunctionError: 'Unhandled' })
    expect(result(answer)).toMatchObject({
      errorType: 'Function.ResponseSizeTooLarge',
      errorMessage: expect.stringContaining('exceeded maximum allowed payload size (6291556 bytes)'),
    })
  })

  test('the client context', async () => {
    const { invoke } = await serve(async (_, context) => context.clientContext)
    const context = { custom: { é: 1 } }
    const ClientContext = Buffer.from(json(context)).toString('base64')
    expect(result(await invoke({ ClientContext }))).toEqual(context)
  })
})

describe('LogType Tail', () => {
  test('returns the output of the invocation', async () => {
    const { invoke } = await serve(async (event) => {
      console.log('handling %s', event, { ok: true })
      await sleep(5)
      console.error('handled')
    })
    const first = await invoke({ Payload: '"one"', LogType: 'Tail' })
    const id = first.$metadata.requestId
    expect(logOf(first).split('\n')).toEqual([
      `START RequestId: ${id} Version: $LATEST`,
      'handling one { ok: true }',
      'handled',
      `END RequestId: ${id}`,
      expect.stringMatching(
        new RegExp(
          String.raw`^REPORT RequestId: ${id}\tDuration: \d+\.\d\d ms\tInit Duration: \d+\.\d\d ms$`,
        ),
      ),
      '',
    ])
    // The function is warm.
    expect(logOf(await invoke({ LogType: 'Tail' }))).not.toContain('Init Duration')
    expect((await invoke({ LogType: 'None' })).LogResult).toBeUndefined()
  })

  test('returns the last 4 KB, from the beginning of a character', async () => {
    const { invoke } = await serve(async () => {
      for (let line = 0; line < 3000; line++) console.debug(`line ${line} ${'é'.repeat(7)}`)
    })
    const { LogResult } = await invoke({ LogType: 'Tail' })
    const bytes = Buffer.from(LogResult ?? '', 'base64')
    expect(bytes.length).toBeGreaterThan(4090)
    expect(bytes.length).toBeLessThanOrEqual(4096)
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    expect(text).toContain('\nline 2999 ééééééé\nEND RequestId')
  })

  test('concurrent invocations have separate tails', async () => {
    const { invoke } = await serve(async (event) => {
      for (let line = 0; line < 5; line++) {
        console.log(`of ${event}`)
        await sleep(2)
      }
    })
    const answers = await Promise.all(
      [1, 2, 3, 4, 5, 6].map((n) => invoke({ Payload: String(n), LogType: 'Tail' })),
    )
    const printed = answers.map((answer) => logOf(answer).match(/^of \d$/gm))
    expect(printed).toEqual([1, 2, 3, 4, 5, 6].map((n) => Array(5).fill(`of ${n}`)))
  })
})

test('DryRun invokes nothing, and refuses what an invocation would refuse', async () => {
  let runs = 0
  const { invoke } = await serve(async () => runs++)
  const answer = await invoke({ InvocationType: 'DryRun', Payload: '{}' })
  expect(answer).toMatchObject({ StatusCode: 204, $metadata: { httpStatusCode: 204, requestId: isUuid } })
  expect(answer.ExecutedVersion).toBeUndefined()
  await expect(invoke({ InvocationType: 'DryRun', FunctionName: 'nope' })).rejects.toThrow(
    ResourceNotFoundException,
  )
  expect(runs).toBe(0)
})

describe('Event', () => {
  test('is queued with an empty answer, then handled under the same request id on every attempt', async () => {
    const seen: { event: unknown; context: LambdaContext }[] = []
    const { invoke } = await serve(async (event, context) => {
      seen.push({ event, context })
      if (seen.length < 3) throw new Error('not yet')
    })
    const answer = await invoke({
      InvocationType: 'Event',
      Payload: '{"text":"\\u0000","n":1e2}',
      FunctionName: 'task-notifier:live',
      ClientContext: Buffer.from('{"custom":{}}').toString('base64'),
    })
    expect(answer).toMatchObject({ StatusCode: 202, $metadata: { httpStatusCode: 202, requestId: isUuid } })
    expect(answer.Payload ?? '').toHaveLength(0)
    expect(answer.ExecutedVersion).toBeUndefined()
    await vi.waitFor(() => expect(seen).toHaveLength(3), patience)
    for (const { event, context } of seen) {
      expect(event).toEqual({ text: '\0', n: 100 })
      expect(context).toMatchObject({
        awsRequestId: answer.$metadata.requestId,
        invokedFunctionArn: 'arn:aws:lambda:us-east-1:000000000000:function:task-notifier:live',
      })
      // AWS ignores it.
      expect(context.clientContext).toBeUndefined()
    }
  })

  test('is accepted while every environment is busy, and handled later', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const handled: unknown[] = []
    const { invoke } = await serve(
      async (event) => {
        if (event === 'held') await held
        handled.push(event)
      },
      { concurrency: 1 },
    )
    const holding = invoke({ Payload: '"held"' })
    await vi.waitFor(() => expect(invoke()).rejects.toThrow(TooManyRequestsException), patience)
    expect(await invoke({ InvocationType: 'Event', Payload: '"queued"' })).toMatchObject({ StatusCode: 202 })
    expect(handled.includes('queued')).toBe(false)
    release()
    await holding
    await vi.waitFor(() => expect(handled).toContain('queued'), patience)
    expect(handled.indexOf('queued')).toBeGreaterThan(handled.indexOf('held'))
  })

  test('may have at most 1 MB', async () => {
    const { invoke } = await serve(async () => {})
    const payload = (bytes: number) => `"${'x'.repeat(bytes - 2)}"`
    const megabyte = 1024 * 1024
    expect(await invoke({ InvocationType: 'Event', Payload: payload(megabyte) })).toMatchObject({
      StatusCode: 202,
    })
    await expect(invoke({ InvocationType: 'Event', Payload: payload(megabyte + 1) })).rejects.toThrow(
      RequestTooLargeException,
    )
    expect(await invoke({ Payload: payload(megabyte + 1) })).toMatchObject({ StatusCode: 200 })
  })
})

describe('the concurrency', () => {
  test('limits environments, each with one event at a time and its own log stream; beyond it answers 429', async () => {
    let release = () => {}
    const streams: string[] = []
    const { invoke } = await serve(
      async (_, context) => {
        streams.push(context.logStreamName)
        await new Promise<void>((resolve) => {
          const before = release
          release = () => {
            before()
            resolve()
          }
        })
      },
      { concurrency: 2 },
    )
    const two = [invoke(), invoke()]
    await vi.waitFor(() => expect(streams).toHaveLength(2), patience)
    const error = await invoke().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(TooManyRequestsException)
    expect(error).toMatchObject({
      name: 'TooManyRequestsException',
      message: 'Rate Exceeded.',
      Type: 'User',
      Reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
      retryAfterSeconds: '1',
      $fault: 'client',
      $metadata: { httpStatusCode: 429, requestId: isUuid, attempts: 1 },
    })
    release()
    await Promise.all(two)
    expect(new Set(streams).size).toBe(2)
    for (const stream of streams) expect(stream).toMatch(/^\d{4}\/\d\d\/\d\d\/\[\$LATEST\][0-9a-f]{32}$/)
    // Warm environments are reused.
    const third = invoke()
    await vi.waitFor(() => expect(streams).toHaveLength(3), patience)
    release()
    await third
    expect(new Set(streams).size).toBe(2)
  })

  test('the SDK retries by itself', async () => {
    let release = () => {}
    const begun = new Promise<void>((begin) => {
      release = () => begin()
    })
    const { invoke, lines } = await serve(
      (event) =>
        event === 'held'
          ? new Promise<void>((resolve) => {
              const begin = release
              release = resolve
              begin()
            })
          : Promise.resolve(),
      { concurrency: 1, sdk: { maxAttempts: 20 } },
    )
    const holding = invoke({ Payload: '"held"' })
    await begun
    const waiting = invoke()
    const refusals = () => lines.filter(({ type }) => type === 'TooManyRequestsException')
    await vi.waitFor(() => expect(refusals()).not.toHaveLength(0), patience)
    release()
    await holding
    const { $metadata } = await waiting
    expect($metadata).toMatchObject({ httpStatusCode: 200 })
    expect($metadata.attempts).toBeGreaterThan(1)
  })
})

describe('a refusal is the SDK’s exception', () => {
  test.each<[string, Partial<InvokeCommandInput>, new (...args: never[]) => Error, number]>([
    ['no such function', { FunctionName: 'nope' }, ResourceNotFoundException, 404],
    ['no such version', { Qualifier: '7' }, ResourceNotFoundException, 404],
    [
      'another region',
      { FunctionName: 'arn:aws:lambda:eu-west-1:123456789012:function:task-notifier' },
      ResourceNotFoundException,
      404,
    ],
    [
      'two qualifiers',
      { FunctionName: 'task-notifier:live', Qualifier: 'test' },
      InvalidParameterValueException,
      400,
    ],
    ['no such type', { InvocationType: 'Later' as never }, InvalidParameterValueException, 400],
    ['no such log type', { LogType: 'Head' as never }, InvalidParameterValueException, 400],
    ['no JSON', { Payload: '{' }, InvalidRequestContentException, 400],
    ['no JSON, queued', { Payload: '{', InvocationType: 'Event' }, InvalidRequestContentException, 400],
    ['a bad client context', { ClientContext: 'nope' }, InvalidRequestContentException, 400],
    ['too large', { Payload: new Uint8Array(6 * 1024 * 1024 + 1) }, RequestTooLargeException, 413],
  ])('%s', async (_, input, exception, status) => {
    const { invoke } = await serve(async () => expect.unreachable())
    const error = await invoke(input).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(exception)
    expect(error).toMatchObject({
      name: exception.name,
      message: expect.stringMatching(/\S/),
      Type: 'User',
      $fault: 'client',
      $metadata: { httpStatusCode: status, requestId: isUuid, attempts: 1 },
    })
  })

  test.each<[string, LambdaClientConfig, string]>([
    [
      'a wrong secret',
      { credentials: { ...credentials, secretAccessKey: 'wrong' } },
      'InvalidSignatureException',
    ],
    [
      'an unknown key',
      { credentials: { ...credentials, accessKeyId: 'OTHER' } },
      'UnrecognizedClientException',
    ],
    ['another region', { region: 'eu-west-1' }, 'InvalidSignatureException'],
    ['a clock ten minutes late', { systemClockOffset: -600_000 }, 'InvalidSignatureException'],
    ['a clock ten minutes early', { systemClockOffset: 600_000 }, 'InvalidSignatureException'],
  ])('%s', async (_, sdk, name) => {
    const { invoke } = await serve(async () => expect.unreachable(), { sdk })
    await expect(invoke()).rejects.toMatchObject({
      name,
      message: expect.stringMatching(/\S/),
      $metadata: { httpStatusCode: 403, requestId: isUuid },
    })
  })

  test('accepts a clock that is slightly late', async () => {
    const { invoke } = await serve(async () => 1, { sdk: { systemClockOffset: -240_000 } })
    expect(await invoke()).toMatchObject({ StatusCode: 200 })
  })

  test('refuses an Event that cannot be stored', async () => {
    const databaseUrl = `postgres://nobody:secret@127.0.0.1:${await findFreePort()}/none`
    const { invoke, lines } = await serve(async () => 1, { databaseUrl })
    const error = await invoke({ InvocationType: 'Event' }).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(ServiceException)
    expect(error).toMatchObject({
      Type: 'Service',
      message: 'The Lambda service encountered an internal error',
      $metadata: { httpStatusCode: 500, requestId: isUuid },
    })
    expect(JSON.stringify(lines)).not.toContain('secret')
    // RequestResponse still works.
    expect(await invoke()).toMatchObject({ StatusCode: 200 })
  })
})
