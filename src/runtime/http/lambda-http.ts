/** HTTP requests on AWS Lambda: events of HTTP APIs and function URLs, read by hono/aws-lambda. */
import type { Context, Hono } from 'hono'
import { handle, type LambdaEvent } from 'hono/aws-lambda'
import type { Deps } from '../../http/deps.ts'
import { malformedRequest } from './malformed-request.ts'

/**
 * Payload format 2.0, which both send:
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export type HttpEvent = Extract<LambdaEvent, { rawPath: string }>

export function isHttpEvent(event: unknown): event is HttpEvent {
  const { version, rawPath, requestContext } = (event ?? {}) as Partial<HttpEvent>
  return version === '2.0' && typeof rawPath === 'string' && typeof requestContext?.http?.method === 'string'
}

type Bindings = { requestContext: HttpEvent['requestContext']; deps: Deps }

/** Options of `createApp`. Each event has its own deps; AWS reports the client's address. */
export const lambdaRuntime = {
  provide: (c: Context<{ Bindings: Bindings }>) => c.env.deps,
  connectionAddress: (c: Context<{ Bindings: Bindings }>) => c.env.requestContext.http.sourceIp,
  // A proxy in front of API Gateway, such as CloudFront, has a public address.
  proxiesAreNear: false,
}

export async function answerHttp(app: Hono, event: HttpEvent, deps: Deps) {
  const fetch: typeof app.fetch = (request, bindings) => app.fetch(request, { ...(bindings as object), deps })
  const result = await handle({ fetch } as typeof app)(prepare(event))
  // hono/aws-lambda answers an event that makes no request itself, with a bare text.
  return 'x-request-id' in result.headers ? result : { statusCode: 400, ...malformedRequest(400) }
}

/** Rewrites parts that hono/aws-lambda would lose or refuse, and Node would pass on. */
function prepare(event: HttpEvent): HttpEvent {
  const { headers, body, rawPath } = event
  return {
    ...event,
    // Only a path that AWS has decoded has these.
    rawPath: rawPath.replace(/[?#]/g, encodeURIComponent),
    headers: Object.fromEntries(
      Object.entries(headers ?? {}).map(([name, value = '']) => [name, headerValue(value)]),
    ),
    body: /^(GET|HEAD)$/.test(event.requestContext.http.method) ? null : body,
  }
}

/**
 * hono/aws-lambda drops a header with an empty value, such as If-Match. A blank stays, and Headers trims it
 * to an empty value. It percent-encodes a value that is not ASCII, which could make it valid: DEL, which is
 * not allowed in any header of ours, keeps it invalid.
 */
const headerValue = (value: string) => (value === '' ? ' ' : value.replace(/\P{ASCII}/gu, '\x7f'))
