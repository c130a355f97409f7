/** The operations around the API. */
import * as z from 'zod'
import { operation } from '../http/operation.ts'
import { int64 } from '../http/schemas.ts'

const tag = { name: 'Service', description: 'The state of the service, and its description' }

const RateLimitState = z
  .object({
    limit: z.int().min(0),
    remaining: z.int().min(0),
    reset: z
      .int()
      .min(0)
      .meta({ ...int64, description: 'Seconds since the epoch' }),
    window: z.number().describe('Seconds'),
  })
  .meta({ id: 'RateLimitState' })

const Readiness = z
  .object({
    status: z.enum(['ready', 'degraded', 'unavailable']),
    degraded: z.array(z.string()).optional(),
    unavailable: z.array(z.string()).optional(),
  })
  .meta({ id: 'Readiness' })

export const getRateLimit = operation({
  id: 'getRateLimit',
  limit: { class: 'general', cost: 0 },
  method: 'get',
  path: '/api/rate-limit/',
  tag,
  summary: "The caller's rate limit; asking costs nothing",
  description: "With a token the user's, without one the address's.",
  authenticated: 'optional',
  answers: { 200: { description: 'As it stands', schema: RateLimitState } },
  problems: { 401: 'The access token is not valid, or no longer' },
  examples: {
    'With a token': { answer: { limit: 100, remaining: 99, reset: 1795633438, window: 60 } },
  },
})

export const getHealth = operation({
  id: 'getHealth',
  limit: null,
  method: 'get',
  path: '/healthz',
  tag,
  summary: 'Whether the process is alive',
  description: 'It asks neither the database nor anything else.',
  authenticated: false,
  answers: { 200: { description: 'It is', schema: z.object({ status: z.literal('alive') }) } },
  examples: { Alive: { answer: { status: 'alive' } } },
})

export const getReadiness = operation({
  id: 'getReadiness',
  limit: null,
  method: 'get',
  path: '/readyz',
  tag,
  summary: 'Whether requests can be served; remembered for a second',
  description: 'What is lost is named by its kind alone.',
  authenticated: false,
  answers: {
    200: { description: 'Yes; degraded names what works only in part', schema: Readiness },
    503: { description: 'No; unavailable names what is missing', schema: Readiness },
  },
  examples: {
    Ready: { answer: { status: 'ready' } },
    'Ready, without its cache': { answer: { status: 'degraded', degraded: ['cache'] } },
    'Without the database': { status: 503, answer: { status: 'unavailable', unavailable: ['database'] } },
  },
})

export const getOpenApi = operation({
  id: 'getOpenApi',
  limit: null,
  method: 'get',
  path: '/openapi.json',
  tag,
  summary: 'This document',
  description: 'Made from the same schemas that requests are checked by.',
  authenticated: false,
  answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
  examples: { 'Its beginning': { answer: { openapi: '3.1.0' } } },
})
