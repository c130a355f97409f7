/**
 * An operation is declared once, with the schemas of what it takes and answers. Mounting it validates by them; the
 * OpenAPI document and the answers to unknown methods come from the same declaration.
 */
import type { Context, Handler, Hono } from 'hono'
import * as z from 'zod'
import type { AppEnv } from '../deps.ts'
import type { ProblemStatus } from '../problem.ts'
import { authenticate } from './authenticate.ts'
import { type MediaType, readBody } from './body.ts'
import { validate } from './validate.ts'

type Answer = {
  description: string
  schema?: z.ZodType
  /** Names of the response headers worth telling, each with what it says. */
  headers?: Record<string, string>
}

export type Operation = {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete'
  /** Canonical, with a trailing slash where the contract has one; parameters as `:name`. */
  path: string
  /** Unique; names the operation in clients that are generated. */
  id: string
  tag: 'Tasks' | 'Accounts' | 'Service'
  summary: string
  description?: string
  authenticated: boolean
  query?: z.ZodObject
  body?: { schema: z.ZodObject; mediaTypes: MediaType[] }
  /** Request headers that mean something here, each described with what it does. */
  headers?: z.ZodObject
  answers: Record<number, Answer>
  /** Besides those every operation has: see `problemsOf`. */
  problems?: Partial<Record<ProblemStatus, string>>
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
    ...(declaration.authenticated ? [authenticate] : []),
    ...(body ? [readBody(body.mediaTypes)] : []),
    ...validate({ query, headers, body: body?.schema, form }),
    (c) => handle(c, { query: valid(c, 'query'), body: valid(c, 'json') ?? valid(c, 'form') } as Input<O>),
  ]
  // The app is not strict about a trailing slash, so the path without it answers the same.
  app.on(method.toUpperCase(), [path.replace(/\/$/, '')], ...steps)
}

/** Hono types what was validated along a chain of calls; here it is the declaration that knows. */
const valid = (c: Context, target: 'query' | 'json' | 'form'): unknown => c.req.valid(target as never)
