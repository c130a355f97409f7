/**
 * An operation is declared once, with the schemas of what it takes and answers. Mounting it validates by them; the
 * OpenAPI document and the answers to unknown methods come from the same declaration.
 */
import type { Context, Handler, Hono } from 'hono'
import * as z from 'zod'
import type { ProblemStatus } from '../core/problem.ts'
import { authenticate } from './authenticate.ts'
import { type MediaType, readBody } from './body.ts'
import type { AppEnv } from './deps.ts'
import type { ResponseHeader } from './response-headers.ts'
import { validate } from './validate.ts'

/** In the order of the reference page. */
export const tags = {
  Tasks: 'Tasks, and lists of them: a user sees those that they created and those assigned to them',
  Accounts: 'Users, the sessions in which they are logged in, and the tokens of those',
  Service: 'The state of the service, and its description',
}

type Answer = {
  description: string
  schema?: z.ZodType
  /** Besides those of every response. */
  headers?: ResponseHeader[]
}

/** A request that succeeds, and its answer. A client puts its own ids, tokens and names in place of those shown. */
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
  /** Canonical, with a trailing slash where the contract has one; parameters as `:name`. */
  path: string
  /** Unique; names the operation in clients that are generated. */
  id: string
  tag: keyof typeof tags
  summary: string
  description: string
  /** Whether a token is needed; with `optional` one that is sent has to be valid. */
  authenticated: boolean | 'optional'
  query?: z.ZodObject
  body?: { schema: z.ZodObject; mediaTypes: MediaType[] }
  /** Request headers that mean something here, each described with what it does. */
  headers?: z.ZodObject
  answers: Record<number, Answer>
  /** Besides those every operation has: see `problemsOf`. */
  problems?: Partial<Record<ProblemStatus, string>>
  /** By a name that people can read; the plainest first. */
  examples: Record<string, Example>
}

/** Types the declaration as it stands, so that handlers know their input. */
export const operation = <const O extends Operation>(declaration: O): O => declaration

export type Input<O extends Operation> = {
  query: O['query'] extends z.ZodType ? z.output<O['query']> : Record<string, never>
  body: O['body'] extends { schema: infer S extends z.ZodType } ? z.output<S> : undefined
}

const nothing = z.strictObject({})

export function mount<const O extends Operation>(
  app: Hono<AppEnv>,
  declaration: O,
  handle: (c: Context<AppEnv>, input: Input<O>) => Response | Promise<Response>,
) {
  const { method, path, query = nothing, headers = nothing, body } = declaration
  const form = body?.mediaTypes.includes('application/x-www-form-urlencoded') ?? false
  const steps: Handler<AppEnv>[] = [
    function route(c, next) {
      c.set('route', path)
      return next()
    },
    ...(declaration.authenticated === true ? [authenticate] : []),
    ...(body ? [readBody(body.mediaTypes)] : []),
    ...validate({ query, headers, body: body?.schema, form }),
    (c) => handle(c, { query: valid(c, 'query'), body: valid(c, 'json') ?? valid(c, 'form') } as Input<O>),
  ]
  // The app is not strict about a trailing slash, so the path without it answers the same.
  app.on(method.toUpperCase(), [path.replace(/\/$/, '')], ...steps)
}

/** Hono types what was validated along a chain of calls; here it is the declaration that knows. */
const valid = (c: Context, target: 'query' | 'json' | 'form'): unknown => c.req.valid(target as never)
