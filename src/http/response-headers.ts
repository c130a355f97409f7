/** The response headers in the OpenAPI document. */
import * as z from 'zod'
import { int64 } from './schemas.ts'

type Header = {
  description: string
  /** Text when absent. */
  schema?: z.ZodType
  example: string | number
  /** Not in every response that lists it. */
  optional?: true
}

const count = z.int().min(0)

const declare = <Names extends string>(headers: Record<Names, Header>): Record<Names, Header> => headers

export const responseHeaders = declare({
  'X-Request-Id': {
    description: "The request's name in the logs: as sent, when it is short and harmless, else a new one",
    example: '0b8d1f0e-6f0c-4f3c-9d0a-3a8a6c1f2b4d',
  },
  'Cache-Control': {
    description: 'Whether the response may be kept (RFC 9111)',
    example: 'no-store',
  },
  'RateLimit-Policy': {
    description:
      'Name of the limit, its quota and its window in seconds (draft-ietf-httpapi-ratelimit-headers)',
    example: '"user";q=100;w=60',
  },
  RateLimit: {
    description: 'Name of the limit, the requests that remain, and the seconds until there are more',
    example: '"user";r=99;t=42',
  },
  'X-RateLimit-Limit': { description: 'Quota of the limit', schema: count, example: 100 },
  'X-RateLimit-Remaining': { description: 'Requests that remain', schema: count, example: 99 },
  'X-RateLimit-Reset': {
    description: 'When there are more, in seconds since the epoch',
    schema: count.meta(int64),
    example: 1795633438,
  },
  'Retry-After': { description: 'Seconds to wait', schema: z.int().min(1), example: 7 },
  'WWW-Authenticate': {
    description: 'The scheme, and what is wrong with the token where one was sent (RFC 6750)',
    example: 'Bearer realm="task-api", error="invalid_token"',
  },
  ETag: {
    description: 'The version of the task; strong, changes with every change of it',
    example: '"3.8145279"',
  },
  Location: { description: 'URL of the task', example: '/api/tasks/7/' },
  Link: {
    description: 'The URLs of next and previous (RFC 8288); left out when it would be longer than 2 KB',
    example: '</api/tasks/?cursor=WyIyMDI2LTEx>; rel="next"',
    optional: true,
  },
  'Cache-Status': {
    description: "Whether the service's own cache had it (RFC 9211)",
    example: 'task-api; hit; ttl=29',
  },
  'Idempotency-Replayed': {
    description: 'Sent when this is the first answer again',
    schema: z.literal('true'),
    example: 'true',
    optional: true,
  },
  Accept: {
    description: 'The media types that are taken here, where the one sent is not (RFC 9110)',
    example: 'application/json',
    optional: true,
  },
  'Accept-Patch': {
    description: 'The same for PATCH (RFC 5789)',
    example: 'application/json, application/merge-patch+json',
    optional: true,
  },
  'Accept-Post': {
    description: "The same for POST (W3C's Linked Data Platform)",
    example: 'application/json',
    optional: true,
  },
  'Accept-Encoding': {
    description: 'The content codings that are taken, where the one sent is not (RFC 9110)',
    example: 'identity',
    optional: true,
  },
  Allow: {
    description: 'With 405: the methods that the path has',
    example: 'GET, HEAD, POST, OPTIONS',
    optional: true,
  },
})

export type ResponseHeader = keyof typeof responseHeaders
