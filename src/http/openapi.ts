/** The OpenAPI 3.1 document, made from the operations' declarations: nothing in it is written twice. */
import * as z from 'zod'
import { type ProblemStatus, problemMediaType } from '../problem.ts'
import type { Operation } from './operation.ts'

export type OpenApiDocument = Record<string, unknown>

const ProblemDocument = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    errors: z
      .array(
        z.object({
          pointer: z.string().optional().describe('JSON pointer to a member of the body'),
          parameter: z.string().optional().describe('Name of a query parameter'),
          header: z.string().optional().describe('Name of a header'),
          detail: z.string(),
        }),
      )
      .optional(),
    'violated-policies': z.array(z.string()).optional().describe('With 429: the limits that refused'),
    request_id: z.string(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457' })

const rateLimitHeaders = {
  'RateLimit-Policy': 'The limit that counted, as name, quota and window in seconds',
  RateLimit: 'What remains of it, and the seconds until more',
  'X-RateLimit-Limit': 'Its quota',
  'X-RateLimit-Remaining': 'What remains of it',
  'X-RateLimit-Reset': 'When there is more, in seconds since the epoch',
}
const headersOfProblems: Record<string, Record<string, string>> = {
  401: { 'WWW-Authenticate': 'The scheme, and what is wrong with the token (RFC 6750)' },
  412: { ETag: 'What the task has now' },
  429: { 'Retry-After': 'Seconds' },
  503: { 'Retry-After': 'Seconds' },
}

/** Every problem that an operation can answer, each with its description. */
export function problemsOf(operation: Operation): Partial<Record<ProblemStatus, string>> {
  const { authenticated, body, path, problems } = operation
  const limited = path.startsWith('/api/')
  return {
    400: 'The request has invalid input; errors lists everything that is wrong',
    ...(authenticated ? { 401: 'The access token is missing or not valid, or no longer' } : {}),
    ...(body ? { 413: 'The body has more than 64 KiB', 415: 'The body is of another media type' } : {}),
    ...(limited
      ? { 429: 'Over a rate limit; see Retry-After', 503: 'The database is away; see Retry-After' }
      : {}),
    500: 'A fault of the server',
    ...problems,
  }
}

/** `server` is the absolute prefix of the paths; '' where they are relative to the document. */
export function describeOperations(operations: Operation[], server: string): OpenApiDocument {
  const schemas: Record<string, unknown> = {}
  /** Schemas with an id become components, wherever they are used. */
  const schemaOf: SchemaOf = (schema, io) => {
    const { $defs = {}, ...rest } = jsonSchema(schema, io)
    Object.assign(schemas, $defs)
    return rest
  }
  const paths: Record<string, Record<string, unknown>> = {}
  for (const operation of [...operations].sort(byPathAndMethod)) {
    const path = operation.path.replace(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [operation.method]: describeOperation(operation, schemaOf) }
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Task API', version: '1', license: { name: 'MIT', identifier: 'MIT' } },
    servers: [{ url: server || '/' }],
    tags: [{ name: 'Tasks' }, { name: 'Accounts' }, { name: 'Service' }],
    paths,
    components: {
      schemas,
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' } },
    },
  }
}

const methods: Operation['method'][] = ['get', 'post', 'put', 'patch', 'delete']

/** As a reader looks for them. */
const byPathAndMethod = (a: Operation, b: Operation) =>
  a.path === b.path ? methods.indexOf(a.method) - methods.indexOf(b.method) : a.path < b.path ? -1 : 1

type SchemaOf = (schema: z.ZodType, io: 'input' | 'output') => JsonSchema

function describeOperation(operation: Operation, schemaOf: SchemaOf) {
  const { id, tag, summary, description, authenticated, body, answers } = operation
  const limited = operation.path.startsWith('/api/')
  const always = { 'X-Request-Id': 'Names the request in the logs', ...(limited ? rateLimitHeaders : {}) }
  const content = (mediaTypes: string[], schema: z.ZodType, io: 'input' | 'output') =>
    Object.fromEntries(mediaTypes.map((mediaType) => [mediaType, { schema: schemaOf(schema, io) }]))
  const parameters = parametersOf(operation, schemaOf)
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description ? { description } : {}),
    security: authenticated ? [{ bearer: [] }] : [],
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body
      ? { requestBody: { required: true, content: content(body.mediaTypes, body.schema, 'input') } }
      : {}),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, answer]) => [
          status,
          {
            description: answer.description,
            headers: headersOf({ ...always, ...answer.headers }),
            ...(answer.schema ? { content: content(['application/json'], answer.schema, 'output') } : {}),
          },
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(problemsOf(operation))
          .filter(([status]) => !(status in answers))
          .map(([status, text]) => [
            status,
            {
              description: text,
              headers: headersOf({ ...always, ...headersOfProblems[status] }),
              content: content([problemMediaType], ProblemDocument, 'output'),
            },
          ]),
      ),
    },
  }
}

const headersOf = (headers: Record<string, string>) =>
  Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  )

function parametersOf({ path, query, headers }: Operation, schemaOf: SchemaOf) {
  const described = (place: 'query' | 'header', members: z.ZodObject | undefined) => {
    const { properties = {}, required = [] } = members ? schemaOf(members, 'input') : {}
    return Object.entries(properties).map(([name, { description, ...schema }]) => ({
      name,
      in: place,
      required: required.includes(name),
      ...(description ? { description } : {}),
      schema,
    }))
  }
  return [
    ...[...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
      name,
      in: 'path',
      required: true,
      schema: { type: 'integer' },
    })),
    ...described('query', query),
    ...described('header', headers),
  ]
}

type JsonSchema = {
  properties?: Record<string, { description?: string }>
  required?: string[]
  $defs?: Record<string, unknown>
}

/** Draft 2020-12, which OpenAPI 3.1 takes as it is. */
function jsonSchema(schema: z.ZodType, io: 'input' | 'output'): JsonSchema {
  const { $schema, ...rest } = z.toJSONSchema(schema, {
    io,
    unrepresentable: 'any',
    override({ jsonSchema }) {
      // The format says the same, and people can read it.
      if (jsonSchema.format) delete jsonSchema.pattern
    },
  })
  return JSON.parse(JSON.stringify(rest).replaceAll('"#/$defs/', '"#/components/schemas/'))
}
