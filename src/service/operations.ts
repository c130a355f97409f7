/** The operations around the API, as clients see them. */
import * as z from 'zod'
import { operation } from '../http/operation.ts'

const RateLimitState = z
  .object({
    limit: z.int(),
    remaining: z.int(),
    reset: z.int().describe('Seconds since the epoch'),
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
  method: 'get',
  path: '/api/rate-limit/',
  tag: 'Service',
  summary: "The caller's rate limit; asking costs nothing",
  description: "With a token the user's, without one the address's.",
  authenticated: false,
  answers: { 200: { description: 'As it stands', schema: RateLimitState } },
  problems: { 401: 'The access token is not valid, or no longer' },
})

export const getHealth = operation({
  id: 'getHealth',
  method: 'get',
  path: '/healthz',
  tag: 'Service',
  summary: 'Whether the process is alive',
  authenticated: false,
  answers: { 200: { description: 'It is', schema: z.object({ status: z.literal('alive') }) } },
})

export const getReadiness = operation({
  id: 'getReadiness',
  method: 'get',
  path: '/readyz',
  tag: 'Service',
  summary: 'Whether requests can be served; remembered for a second',
  authenticated: false,
  answers: {
    200: { description: 'Yes; degraded names what works only in part', schema: Readiness },
    503: { description: 'No; unavailable names what is missing', schema: Readiness },
  },
})

export const getOpenApi = operation({
  id: 'getOpenApi',
  method: 'get',
  path: '/openapi.json',
  tag: 'Service',
  summary: 'This document',
  authenticated: false,
  answers: { 200: { description: 'OpenAPI 3.1', schema: z.looseObject({ openapi: z.string() }) } },
})
