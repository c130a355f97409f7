/**
 * Declares operations. All that is known of one stands in its declaration: requests are counted, validated,
 * cached and answered by it, and the OpenAPI document and the tests are made from it.
 */
import * as z from 'zod'
import type { ProblemStatus } from '../core/problem.ts'
import type { MediaType } from './body.ts'
import type { Precondition } from './conditional.ts'
import { type IdempotencyKey, idempotencyHeaders, idempotencyProblems } from './idempotency.ts'
import type { Page } from './page.ts'
import type { LimitUse } from './rate-limit.ts'
import type { ResponseHeader } from './response-headers.ts'

/** A chapter of the reference page. */
export type Tag = { name: string; description: string }

type Response = {
  description: string
  schema?: z.ZodType
  /** Besides those of every response. */
  headers?: ResponseHeader[]
}
/** A request that succeeds, and its answer. Ids, tokens and names differ for each client. */
export type Example = {
  query?: Record<string, string | number | boolean>
  header?: Record<string, string>
  body?: Record<string, unknown>
  /** The first of the operation's `answers` when absent. */
  status?: number
  /** The body of the answer, where it has one. */
  answer?: unknown
}

export type Operation = {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Canonical, with a trailing slash where the contract has one; `:id` for an id. */
  path: string
  /** Unique; names the operation in generated clients. */
  id: string
  tag: Tag
  summary: string
  description: string
  /** Whether a token is needed; with `optional` one that is sent has to be valid. */
  authenticated: boolean | 'optional'
  /** The limits that a request counts under: `general` at cost 1 when absent; null for none. */
  limit?: LimitUse | null
  /**
   * Answers are cached for each session until something changes that its user may see. The count under the
   * limit `general` reads the cache, so it must cost 1.
   */
  cached?: true
  /** Honours If-Match and If-None-Match. The text is the detail of a 412, without a full stop. */
  conditional?: string
  /** `key`: a request with an Idempotency-Key has its effect once. */
  idempotency?: 'key'
  /** A list in pages: `query` has `limit` and `cursor`. */
  paged?: true
  query?: z.ZodObject
  body?: { schema: z.ZodObject; mediaTypes: MediaType[] }
  answers: Record<number, Response>
  /** Besides those that follow from the rest: see `problemsOf`. */
  problems?: Partial<Record<ProblemStatus, string>>
  /** By a name that people can read; the plainest first. */
  examples: Record<string, Example>
}

/** Types the declaration as it stands, so that its handler's input is inferred. */
export const operation = <const O extends Operation>(declaration: O): O => declaration

/** A request's validated input. */
export type Input<O extends Operation> = {
  query: O['query'] extends z.ZodType ? z.output<O['query']> : Record<string, never>
  body: O['body'] extends { schema: infer S extends z.ZodType } ? z.output<S> : undefined
  /** Null for a path with an id that cannot be one. The statement still runs: it checks the session. */
  id: O['path'] extends `${string}/:id/${string}` ? number | null : undefined
  page: O extends { paged: true } ? Page : undefined
  precondition: O extends { conditional: string } ? Precondition : undefined
  idempotencyKey: O extends { idempotency: 'key' } ? IdempotencyKey | undefined : undefined
}

/** The limits that requests of the operation count under; null for none. */
export const limitOf = ({
  limit = { class: 'general', cost: 1 },
}: Pick<Operation, 'limit'>): LimitUse | null => limit

const entityTags = z.string().optional()

/** The request headers that have a meaning for the operation. */
export function headersOf({ method, conditional, idempotency }: Operation): z.ZodObject {
  const ifMatch = entityTags.describe(
    'Answers 412, having done nothing, unless the task still has this entity tag',
  )
  const ifNoneMatch = entityTags.describe('Answers 304 while the task still has this entity tag')
  return z.strictObject({
    ...(conditional === undefined ? {} : { 'If-Match': ifMatch }),
    ...(conditional !== undefined && method === 'get' ? { 'If-None-Match': ifNoneMatch } : {}),
    ...(idempotency === undefined ? {} : idempotencyHeaders),
  })
}

/** Every problem that an operation can answer, each with its description. */
export function problemsOf(operation: Operation): Partial<Record<ProblemStatus, string>> {
  const { authenticated, body, conditional, idempotency, problems } = operation
  return {
    400: 'The request has invalid input; errors lists everything that is wrong',
    ...(authenticated ? { 401: 'The access token is missing or not valid, or no longer' } : {}),
    ...(body ? { 413: 'The body has more than 64 KiB', 415: 'The body is of another media type' } : {}),
    ...(limitOf(operation)
      ? { 429: 'Over a rate limit; see Retry-After', 503: 'The database is away; see Retry-After' }
      : {}),
    ...(conditional === undefined ? {} : { 412: `${conditional}; ETag says what it is now` }),
    ...(idempotency === undefined ? {} : idempotencyProblems),
    500: 'A fault of the server',
    ...problems,
  }
}
