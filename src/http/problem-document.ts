/** Problem documents (RFC 9457) in the OpenAPI document. */
import * as z from 'zod'
import { invalidInput } from '../core/problem.ts'
import type { Operation } from './operation.ts'
import type { ResponseHeader } from './response-headers.ts'

const example = {
  ...invalidInput([{ pointer: '/title', detail: 'It is required.' }]).toJSON(),
  request_id: '0b8d1f0e-6f0c-4f3c-9d0a-3a8a6c1f2b4d',
}

export const ProblemDocument = z
  .object({
    type: z.string().meta({ format: 'uri-reference' }),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string().describe('For people; it may change'),
    errors: z
      .array(
        z
          .object({
            pointer: z.string().optional().describe('JSON pointer to a member of the body (RFC 6901)'),
            parameter: z.string().optional().describe('Name of a query parameter'),
            header: z.string().optional().describe('Name of a request header'),
            detail: z.string(),
          })
          .describe('Has one of pointer, parameter and header'),
      )
      .optional()
      .describe('With 400: everything that is wrong with the input'),
    'violated-policies': z
      .array(z.string())
      .optional()
      .describe('With 429: names of the limits that refused'),
    request_id: z.string().describe('Also in X-Request-Id'),
  })
  .meta({ id: 'Problem', description: 'A problem document (RFC 9457)', examples: [example] })

/** Names of the extra headers of problems, by status. */
export function problemHeaders({ method }: Operation): Partial<Record<string, ResponseHeader[]>> {
  const own: Partial<Record<Operation['method'], ResponseHeader[]>> = {
    patch: ['Accept-Patch'],
    post: ['Accept-Post'],
  }
  return {
    401: ['WWW-Authenticate'],
    412: ['ETag'],
    415: ['Accept', 'Accept-Encoding', ...(own[method] ?? [])],
    429: ['Retry-After'],
    503: ['Retry-After'],
  }
}
