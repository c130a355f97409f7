/** Invokes a Lambda function over HTTP, signed with SigV4. Needs only fetch and WebCrypto. */
import { AwsV4Signer } from 'aws4fetch'
import { describeFetchError } from '../core/post-json.ts'
import type { CredentialSource, Credentials } from './credentials.ts'
import type { OutboxEvent } from './event.ts'
import { parseRetryAfter, throttledForMs } from './throttling.ts'

export type LambdaClientOptions = {
  /** Such as `https://lambda.eu-west-1.amazonaws.com`. A path in it is a prefix. */
  endpoint: string
  /** A name, a name with an alias, or an ARN. */
  functionName: string
  /** `RequestResponse` resolves when the function has returned, `Event` when AWS has queued the event. */
  invocation: 'RequestResponse' | 'Event'
  region: string
  credentials: Credentials | CredentialSource
  /** Limits the whole invocation. Must be longer than the function's own time-out. */
  timeoutMs: number
  /** Called with what the function returned, usually JSON. Not for `Event`. */
  onReturn?: (payload: string) => void
  /** Replaces the runtime's fetch, for example by a service binding on Workers. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>
}

type Failure = {
  /** Undefined when no answer came. */
  status?: number
  /** Lambda's, such as `ResourceNotFoundException`, or the function's own, such as `TypeError`. */
  type?: string | undefined
  /** False when the event itself was refused. An operator can correct wrong keys or a missing function. */
  retryable: boolean
  /** The service's Retry-After. */
  retryAfterMs?: number | undefined
  /** The wait for a throttled channel, if nothing else kept the event from being handled. */
  throttledMs?: number | undefined
  cause?: unknown
}

/** The event was not handled, as far as is known: after a time-out it may have been. */
export class InvocationError extends Error {
  override name = 'InvocationError'
  readonly failure: Omit<Failure, 'cause'>
  /** No answer came within `timeoutMs`. */
  readonly timedOut: boolean

  constructor(message: string, { cause, ...failure }: Failure) {
    super(message, { cause })
    this.failure = failure
    this.timedOut = cause instanceof Error && cause.name === 'TimeoutError'
  }
}

/** `DryRun` only asks whether the caller may invoke the function. */
type Invocation = LambdaClientOptions['invocation'] | 'DryRun'

const expectedStatus = { RequestResponse: 200, Event: 202, DryRun: 204 } satisfies Record<Invocation, number>

export type LambdaAnswer = {
  status: number
  headers: Headers
  /** Its first 64 KiB. */
  payload: string
}

const maxAnswerBytes = 64 * 1024
const refusedEvent = new Set([
  'InvalidRequestContentException',
  'RequestTooLargeException',
  'SerializedRequestEntityTooLargeException',
  'UnsupportedMediaTypeException',
])

export function createLambdaClient({ credentials: given, ...options }: LambdaClientOptions) {
  const source: CredentialSource = typeof given === 'function' ? given : async () => given
  let refused: Credentials | undefined

  async function send(invocation: Invocation, body: string): Promise<LambdaAnswer> {
    const credentials = await source(refused).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error)
      throw new InvocationError(shorten(message), { retryable: true })
    })
    const answer = await sendInvocation({ ...options, invocation, credentials }, body)
    // Temporary credentials can be revoked before they expire: others may be right.
    refused = answer.status === 403 ? credentials : undefined
    const isExpected = answer.status === expectedStatus[invocation]
    if (!isExpected || answer.headers.has('x-amz-function-error')) throw toError(answer)
    return answer
  }

  return {
    /** Resolves when the event is handled, or queued for `Event`. @throws InvocationError otherwise */
    async invoke(event: OutboxEvent): Promise<void> {
      const { payload } = await send(options.invocation, JSON.stringify(event))
      if (options.invocation === 'RequestResponse') options.onReturn?.(payload)
    },
    /** Invokes nothing. @throws InvocationError when the caller may not invoke the function */
    dryRun: () => send('DryRun', ''),
  }
}

/** Sends one invocation and returns any answer. @throws InvocationError when no answer came */
export async function sendInvocation(
  options: Omit<LambdaClientOptions, 'credentials' | 'invocation'> & {
    credentials: Credentials
    invocation: Invocation
  },
  body: string,
): Promise<LambdaAnswer> {
  const { endpoint, functionName, credentials, region, timeoutMs, fetch = globalThis.fetch } = options
  const url = `${endpoint.replace(/\/+$/, '')}/2015-03-31/functions/${encodeURIComponent(functionName)}/invocations`
  const signer = new AwsV4Signer({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json', 'x-amz-invocation-type': options.invocation },
    body,
    ...credentials,
    region,
    service: 'lambda',
  })
  const { headers } = await signer.sign()
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers,
      body,
      // The signature is valid for this host only.
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    return { status: response.status, headers: response.headers, payload: await readStart(response) }
  } catch (error) {
    const reason = describeFetchError(error, timeoutMs)
    throw new InvocationError(shorten(reason.startsWith('no answer') ? reason : `no answer: ${reason}`), {
      retryable: true,
      cause: error,
    })
  }
}

/** The head has the outcome: a body that breaks off changes nothing. */
async function readStart(response: Response) {
  if (!response.body) return ''
  const reader = response.body.getReader()
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const wanted = value.subarray(0, maxAnswerBytes - bytes)
      text += decoder.decode(wanted, { stream: true })
      bytes += wanted.length
      if (bytes < maxAnswerBytes) continue
      await reader.cancel()
      break
    }
  } catch {
    // The part received so far is used.
  }
  return text
}

function toError({ status, headers, payload }: LambdaAnswer) {
  const body = parseObject(payload)
  const functionError = headers.get('x-amz-function-error')
  if (functionError !== null) {
    const type = firstString(body.errorType)
    const message = firstString(body.errorMessage) ?? 'no message'
    return new InvocationError(shorten(`function failed: ${type ?? functionError}: ${message}`), {
      status,
      type,
      retryable: true,
      throttledMs: throttledForMs({ type, message }),
    })
  }
  // The header may have `:` and the address of a schema after the type.
  const type = headers.get('x-amzn-errortype')?.split(':')[0]
  const message = firstString(body.message, body.Message)
  return new InvocationError(shorten([`answered ${status}`, type, message].filter(Boolean).join(': ')), {
    status,
    type,
    retryable: status !== 413 && !(type !== undefined && refusedEvent.has(type)),
    retryAfterMs: parseRetryAfter(headers.get('retry-after')),
  })
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

const firstString = (...values: unknown[]) =>
  values.find((value) => typeof value === 'string' && value !== '') as string | undefined

/**
 * Returns one line, short enough for a log, that the outbox can store: a function's message may be any JSON
 * string, and Postgres refuses NUL and half a surrogate pair.
 */
function shorten(message: string) {
  const line = message.replace(/[\s\p{Cc}\p{Cs}]+/gu, ' ').trim()
  return line.length > 500 ? `${line.slice(0, 499).replace(/\p{Cs}$/u, '')}…` : line
}
