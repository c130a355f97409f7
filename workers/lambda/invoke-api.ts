/** AWS Lambda's Invoke API for one function: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html */
import type { Context } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { Hono } from 'hono/tiny'
import { encodeBase64 } from 'hono/utils/encode'
import { errorFields, type Logger } from '../../src/core/log.ts'
import type { EventQueue } from './event-queue.ts'
import type { Execution } from './execution.ts'
import { resolveFunction } from './function-name.ts'
import { createInspection } from './inspection.ts'
import { ServiceError } from './service-error.ts'
import { checkClaims, type KeyPair, verifySignature } from './sigv4.ts'

type InvokeApiOptions = {
  execution: Execution
  /** Without a queue, Events are refused. */
  queue?: EventQueue | undefined
  /** Tells a caller of Event how the host can get a queue. */
  queueAdvice?: string
  /** The function's own state, as JSON, for the inspection. */
  state?: () => object
  /** The only pair that may invoke. */
  credentials: KeyPair
  region: string
  /** Milliseconds since the epoch. */
  now?: () => number
  log: Logger
}

type Env = { Variables: { requestId: string } }

/** AWS's limits of a payload, in bytes. */
const maxPayload = { RequestResponse: 6 * 1024 * 1024, DryRun: 6 * 1024 * 1024, Event: 1024 * 1024 }
const invocationTypes = Object.keys(maxPayload) as (keyof typeof maxPayload)[]
/** AWS's limit of X-Amz-Client-Context, in characters of base64. */
const maxClientContext = 3583

export function createInvokeApi({
  execution,
  queue,
  queueAdvice = 'give its host a database',
  state = () => ({}),
  credentials,
  region,
  now = Date.now,
  log,
}: InvokeApiOptions) {
  const app = new Hono<Env>()

  app.use(async function identify(c, next) {
    c.set('requestId', crypto.randomUUID())
    await next()
    c.header('x-amzn-RequestId', c.get('requestId'))
  })

  app.use(async function refuseBrowsers(c, next) {
    // A page in a browser on this machine can reach loopback.
    if (c.req.header('origin') !== undefined)
      throw new ServiceError(403, 'AccessDeniedException', 'Not for browsers')
    await next()
  })

  app.get('/healthz', (c) => c.text('ok'))

  const invocations = '/2015-03-31/functions/:name/invocations'
  // No other path reads a body.
  app.on(
    'POST',
    [invocations, '/inspection/*'],
    async function refuseStrangers(c, next) {
      // Keeps a body of 6 MB from strangers out of memory.
      checkClaims(c.req.raw.headers, expected())
      await next()
    },
    bodyLimit({
      maxSize: maxPayload.RequestResponse,
      onError: () => {
        throw tooLarge('RequestResponse')
      },
    }),
  )

  app.post(invocations, async (c) => {
    const body = await verify(c)
    const qualifiers = c.req.queries('Qualifier') ?? []
    const arn = resolveFunction(c.req.param('name'), qualifiers, execution.functionName, region)
    const type = oneOf(invocationTypes, c.req.header('x-amz-invocation-type') ?? 'RequestResponse')
    const logType = oneOf(['None', 'Tail'], c.req.header('x-amz-log-type') ?? 'None')
    if (body.length > maxPayload[type]) throw tooLarge(type)
    if (type === 'DryRun') return c.body(null, 204)
    const { payload, event } = parseEvent(body)
    const clientContext = parseClientContext(c.req.header('x-amz-client-context'))
    const requestId = c.get('requestId')
    if (type === 'Event') {
      // The client context is dropped, as AWS does.
      await requireQueue().put({ requestId, arn, payload })
      return c.body(null, 202)
    }
    const outcome = await execution.run({ event, arn, requestId, type, attempt: 1, clientContext })
    if (!outcome) throw throttled()
    c.header('X-Amz-Executed-Version', '$LATEST')
    if (logType === 'Tail') c.header('X-Amz-Log-Result', encodeBase64(outcome.logTail.buffer))
    // AWS answers Unhandled for every error of a function on a current runtime.
    if (outcome.error) c.header('X-Amz-Function-Error', 'Unhandled')
    return c.body(outcome.payload, 200, { 'content-type': 'application/json' })
  })

  app.route('/inspection', createInspection({ execution, state, queue: requireQueue, verify }))

  app.notFound((c) => refuse(c, new ServiceError(404, 'UnknownOperationException', 'No such operation')))
  app.onError((error, c) => refuse(c, error))
  return app

  /** Returns the body, which the signature covers. */
  async function verify(c: Context) {
    const body = new Uint8Array(await c.req.arrayBuffer())
    await verifySignature(c.req.raw, body, expected())
    return body
  }

  function requireQueue(): EventQueue {
    if (queue) return queue
    throw new ServiceError(
      400,
      'InvalidParameterValueException',
      `InvocationType Event needs a durable queue, which this function does not have: use RequestResponse, or ${queueAdvice}`,
    )
  }

  function expected() {
    return { credentials, region, service: 'lambda', now: now() }
  }

  function refuse(c: Context<Env>, error: Error) {
    const requestId = c.get('requestId')
    const known = error instanceof ServiceError ? error : undefined
    if (known)
      log.warn('invocation refused', { request_id: requestId, type: known.type, error: known.message })
    else log.error('invocation crashed', { request_id: requestId, ...errorFields(error) })
    const { status, type, message, details } = known ?? internalError()
    if (details.retryAfterSeconds !== undefined) c.header('Retry-After', String(details.retryAfterSeconds))
    // SDKs of different languages read different spellings of the message.
    const body = { Type: known ? 'User' : 'Service', Reason: details.reason, Message: message, message }
    return c.json(body, status, { 'x-amzn-ErrorType': type })
  }
}

const internalError = () =>
  new ServiceError(500, 'ServiceException', 'The Lambda service encountered an internal error')

function oneOf<T extends string>(values: readonly T[], value: string): T {
  const found = values.find((one) => one === value)
  if (found !== undefined) return found
  throw new ServiceError(400, 'InvalidParameterValueException', `${value} is none of ${values.join(', ')}`)
}

const tooLarge = (type: keyof typeof maxPayload) =>
  new ServiceError(
    413,
    'RequestTooLargeException',
    `Request must be smaller than ${maxPayload[type]} bytes for the InvokeFunction operation`,
  )

/** AWS calls a function's own concurrency reserved. */
const throttled = () =>
  new ServiceError(429, 'TooManyRequestsException', 'Rate Exceeded.', {
    reason: 'ReservedFunctionConcurrentInvocationLimitExceeded',
    retryAfterSeconds: 1,
  })

/** An empty body is the event `{}`, as on AWS. */
function parseEvent(body: Uint8Array): { payload: string; event: unknown } {
  if (body.length === 0) return { payload: '{}', event: {} }
  try {
    const payload = decode(body)
    return { payload, event: JSON.parse(payload) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : error
    throw badContent(`Could not parse request body into json: ${reason}`)
  }
}

function parseClientContext(header: string | undefined): unknown {
  if (header === undefined) return undefined
  try {
    if (header.length > maxClientContext) throw new RangeError(`longer than ${maxClientContext} characters`)
    return JSON.parse(decode(Uint8Array.from(atob(header), (character) => character.charCodeAt(0))))
  } catch {
    throw badContent('Client context must be a valid Base64-encoded JSON object.')
  }
}

const decode = (utf8: Uint8Array) => new TextDecoder('utf-8', { fatal: true }).decode(utf8)

const badContent = (message: string) => new ServiceError(400, 'InvalidRequestContentException', message)
