/**
 * AWS Lambda's Invoke API for one function: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
 * The official SDKs and the aws command work against it, so that here and on AWS the same client is used.
 */
import { type Context, Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { parseFunctionName } from '../../src/events/function-name.ts'
import { errorFields, type Logger } from '../../src/log.ts'
import { resolveFunction } from './function-name.ts'
import { type LambdaFunction, runFunction } from './invocation.ts'
import { ServiceError } from './service-error.ts'
import { type KeyPair, verifySignature } from './sigv4.ts'

type InvokeApiOptions = {
  handler: LambdaFunction
  /** A name or an ARN; only the name in it counts. */
  functionName: string
  /** The only pair that may invoke. */
  credentials: KeyPair
  region: string
  /** The function's time-out. */
  timeoutMs: number
  /** Milliseconds since the epoch. */
  now?: () => number
  log: Logger
}

type Env = { Variables: { requestId: string } }

/** AWS's limit of a synchronous invocation's payload, in bytes. */
const maxPayload = 6 * 1024 * 1024
/** AWS's limit of X-Amz-Client-Context, in characters of base64. */
const maxClientContext = 3583

/** @throws Error when `functionName` is none. */
export function createInvokeApi({
  handler,
  credentials,
  region,
  timeoutMs,
  now = Date.now,
  log,
  ...options
}: InvokeApiOptions) {
  const functionName = parseFunctionName(options.functionName)?.name
  if (functionName === undefined)
    throw new Error(`not the name of a Lambda function: ${options.functionName}`)

  const app = new Hono<Env>()

  app.use(async function identify(c, next) {
    c.set('requestId', crypto.randomUUID())
    await next()
    c.header('x-amzn-RequestId', c.get('requestId'))
  })

  app.use(async function refuseBrowsers(c, next) {
    // A page in a browser on this machine reaches loopback too. It has no keys, but needn't get as far as that.
    if (c.req.header('origin') !== undefined)
      throw new ServiceError(403, 'AccessDeniedException', 'Not for browsers')
    await next()
  })

  app.get('/healthz', (c) => c.text('ok'))

  app.post(
    '/2015-03-31/functions/:name/invocations',
    bodyLimit({
      maxSize: maxPayload,
      onError: () => {
        throw new ServiceError(
          413,
          'RequestTooLargeException',
          `Request must be smaller than ${maxPayload} bytes`,
        )
      },
    }),
    async (c) => {
      const body = new Uint8Array(await c.req.arrayBuffer())
      await verifySignature(c.req.raw, body, { credentials, region, service: 'lambda', now: now() })
      const arn = resolveFunction(c.req.param('name'), c.req.queries('Qualifier') ?? [], functionName, region)
      const type = checkType(c.req.header('x-amz-invocation-type') ?? 'RequestResponse')
      if (type === 'DryRun') return c.body(null, 204)
      const { payload, failed } = await runFunction(handler, parseEvent(body), {
        arn,
        functionName,
        requestId: c.get('requestId'),
        clientContext: parseClientContext(c.req.header('x-amz-client-context')),
        timeoutMs,
        now,
        log,
      })
      c.header('X-Amz-Executed-Version', '$LATEST')
      // AWS says Unhandled for every error that a function of a current runtime throws.
      if (failed) c.header('X-Amz-Function-Error', 'Unhandled')
      return c.body(payload, 200, { 'content-type': 'application/json' })
    },
  )

  app.notFound((c) => refuse(c, new ServiceError(404, 'UnknownOperationException', 'No such operation')))
  app.onError((error, c) => refuse(c, error))
  return app

  function refuse(c: Context<Env>, error: Error) {
    const requestId = c.get('requestId')
    const known = error instanceof ServiceError
    if (known)
      log.warn('invocation refused', { request_id: requestId, type: error.type, error: error.message })
    else log.error('invocation crashed', { request_id: requestId, ...errorFields(error) })
    const message = known ? error.message : 'Service encountered an internal error'
    // SDKs for different languages read different spellings of the message.
    return c.json(
      { Type: known ? 'User' : 'Service', Message: message, message },
      known ? error.status : 500,
      { 'x-amzn-ErrorType': known ? error.type : 'ServiceException' },
    )
  }
}

function checkType(type: string) {
  if (type === 'RequestResponse' || type === 'DryRun') return type
  const reason =
    type === 'Event'
      ? 'InvocationType Event needs a durable queue, which this notifier does not have: use RequestResponse'
      : `InvocationType is none of RequestResponse, DryRun: ${type}`
  throw new ServiceError(400, 'InvalidParameterValueException', reason)
}

/** An empty body is the event `{}`, as on AWS. */
function parseEvent(body: Uint8Array): unknown {
  if (body.length === 0) return {}
  try {
    return parseJson(body)
  } catch (error) {
    const reason = error instanceof Error ? error.message : error
    throw badContent(`Could not parse request body into json: ${reason}`)
  }
}

function parseClientContext(header: string | undefined): unknown {
  if (header === undefined) return undefined
  try {
    if (header.length > maxClientContext) throw new RangeError(`longer than ${maxClientContext} characters`)
    return parseJson(Uint8Array.from(atob(header), (character) => character.charCodeAt(0)))
  } catch {
    throw badContent('Client context must be a valid Base64-encoded JSON object.')
  }
}

const parseJson = (utf8: Uint8Array): unknown =>
  JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(utf8))

const badContent = (message: string) => new ServiceError(400, 'InvalidRequestContentException', message)
