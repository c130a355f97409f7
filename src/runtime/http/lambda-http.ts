/** Requests as AWS Lambda gets them: the events of HTTP APIs and of function URLs, by hono/aws-lambda. */
import type { Context, Hono } from 'hono'
import { handle, type LambdaEvent } from 'hono/aws-lambda'
import type { AppEnv, Deps } from '../../http/deps.ts'
import { malformedRequest } from './malformed-request.ts'

/**
 * Payload format 2.0, which both have:
 * https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export type HttpEvent = Extract<LambdaEvent, { rawPath: string }>

export function isHttpEvent(event: unknown): event is HttpEvent {
  const { version, rawPath, requestContext } = (event ?? {}) as Partial<HttpEvent>
  return version === '2.0' && typeof rawPath === 'string' && typeof requestContext?.http?.method === 'string'
}

type Bindings = { requestContext: HttpEvent['requestContext']; deps: Deps }

/** What `createApp` gets: the deps are each event's own, and the address is as AWS saw it, which no client can make up. */
export const lambdaRuntime = {
  provide: (c: Context<{ Bindings: Bindings }>) => c.env.deps,
  connectionAddress: (c: Context<{ Bindings: Bindings }>) => c.env.requestContext.http.sourceIp,
  // A proxy before API Gateway, CloudFront for one, has a public address.
  proxiesAreNear: false,
}

export async function answerHttp(app: Hono<AppEnv>, event: HttpEvent, deps: Deps) {
  const fetch: typeof app.fetch = (request, bindings) => app.fetch(request, { ...(bindings as object), deps })
  const result = await handle({ fetch } as typeof app)(prepared(event))
  // What hono/aws-lambda cannot make a request of it answers itself, with a bare text.
  return 'x-request-id' in result.headers ? result : { statusCode: 400, ...malformedRequest(400) }
}

/** The same request, put so that hono/aws-lambda neither loses nor refuses a part that Node would have passed on. */
function prepared(event: HttpEvent): HttpEvent {
  const { headers, body, rawPath } = event
  return {
    ...event,
    // No path has these, unless it came here decoded.
    rawPath: rawPath.replace(/[?#]/g, encodeURIComponent),
    headers: Object.fromEntries(
      Object.entries(headers ?? {}).map(([name, value = '']) => [name, headerValue(value)]),
    ),
    body: /^(GET|HEAD)$/.test(event.requestContext.http.method) ? null : body,
  }
}

/**
 * An empty value would be left out, and an If-Match with it; as a blank it stays, and is empty again once it is in a
 * Headers. A value that is no ASCII would be percent-encoded, which could make it one that is taken: DEL, which no header
 * of ours may have, keeps it as wrong as it was.
 */
const headerValue = (value: string) => (value === '' ? ' ' : value.replace(/\P{ASCII}/gu, '\x7f'))
