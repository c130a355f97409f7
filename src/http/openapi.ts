/** The OpenAPI 3.1 document, made from the operations' declarations. */
import * as z from 'zod'
import { problemMediaType } from '../core/problem.ts'
import { collectSchemas, type SchemaOf } from './json-schema.ts'
import { type Example, headersOf, limitOf, type Operation, problemsOf } from './operation.ts'
import { ProblemDocument, problemHeaders } from './problem-document.ts'
import { type ResponseHeader, responseHeaders } from './response-headers.ts'
import { Id } from './schemas.ts'

export type OpenApiDocument = Record<string, unknown>

const description = `Tasks that people create, assign to each other and complete.

Register, log in at \`/api/token/\`, and send the access token as \`Authorization: Bearer …\`.
Each path also answers without its last slash. \`HEAD\` is answered wherever \`GET\` is, and \`OPTIONS\` with \`Allow\`.
A task may be edited as it was read, and sent back. Members, parameters and headers may be added in time: a client
ignores those that it does not know.`

/** @param server absolute prefix of the paths; '' where they are relative to the document */
export function describeOperations(operations: Operation[], server: string): OpenApiDocument {
  const { schemaOf, components } = collectSchemas()
  const paths: Record<string, Record<string, unknown>> = {}
  for (const operation of [...operations].sort(byPathAndMethod)) {
    const path = operation.path.replace(/:(\w+)/g, '{$1}')
    paths[path] = { ...paths[path], [operation.method]: describeOperation(operation, schemaOf) }
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Task API',
      version: '1',
      description,
      contact: { name: 'The operator of this service' },
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: server || '/' }],
    tags: [...new Set(operations.map(({ tag }) => tag))],
    paths,
    components: {
      schemas: components,
      headers: Object.fromEntries(
        Object.entries(responseHeaders).map(
          ([name, { description, schema = z.string(), example, optional }]) => [
            name,
            { description, required: !optional, schema: schemaOf(schema, 'output'), example },
          ],
        ),
      ),
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'The access token that `/api/token/` and `/api/token/refresh/` answer',
        },
      },
    },
  }
}

const methods: Operation['method'][] = ['get', 'post', 'put', 'patch', 'delete']

const byPathAndMethod = (a: Operation, b: Operation) =>
  a.path === b.path ? methods.indexOf(a.method) - methods.indexOf(b.method) : a.path < b.path ? -1 : 1

function describeOperation(operation: Operation, schemaOf: SchemaOf) {
  const { id, tag, summary, description, body } = operation
  const parameters = parametersOf(operation, schemaOf)
  return {
    operationId: id,
    tags: [tag.name],
    summary,
    description,
    security: securityOf(operation),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body
      ? {
          requestBody: {
            required: true,
            content: contentOf(body.mediaTypes, schemaOf(body.schema, 'input'), bodiesOf(operation)),
          },
        }
      : {}),
    responses: responsesOf(operation, schemaOf),
  }
}

function securityOf({ authenticated }: Operation) {
  const token = { bearer: [] }
  if (authenticated === 'optional') return [token, {}]
  return authenticated ? [token] : []
}

const contentOf = (mediaTypes: string[], schema: object, values: Record<string, unknown>) => {
  const examples = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]))
  const content = { schema, ...(Object.keys(values).length > 0 ? { examples } : {}) }
  return Object.fromEntries(mediaTypes.map((mediaType) => [mediaType, content]))
}

/** Values of the examples, by the example's name. */
function valuesOf(operation: Operation, read: (example: Example) => unknown): Record<string, unknown> {
  const values = Object.entries(operation.examples).map(([name, example]) => [name, read(example)])
  return Object.fromEntries(values.filter(([, value]) => value !== undefined))
}

const bodiesOf = (operation: Operation) => valuesOf(operation, ({ body }) => body)

function responsesOf(operation: Operation, schemaOf: SchemaOf) {
  const { answers } = operation
  const always: ResponseHeader[] = ['X-Request-Id', 'Cache-Control']
  if (limitOf(operation)) {
    always.push(
      'RateLimit-Policy',
      'RateLimit',
      'X-RateLimit-Limit',
      'X-RateLimit-Remaining',
      'X-RateLimit-Reset',
    )
  }
  const headersOf = (names: ResponseHeader[] = []) =>
    Object.fromEntries([...always, ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }]))
  const first = Object.keys(answers)[0]
  const problem = contentOf([problemMediaType], schemaOf(ProblemDocument, 'output'), {})
  const responses: Record<string, unknown> = {}
  for (const [status, { description, schema, headers }] of Object.entries(answers)) {
    const values = valuesOf(operation, ({ status: own = first, answer }) =>
      String(own) === status ? answer : undefined,
    )
    responses[status] = {
      description,
      headers: headersOf(headers),
      ...(schema ? { content: contentOf(['application/json'], schemaOf(schema, 'output'), values) } : {}),
    }
  }
  for (const [status, description] of Object.entries(problemsOf(operation))) {
    responses[status] ??= {
      description,
      headers: headersOf(problemHeaders(operation)[status]),
      content: problem,
    }
  }
  const description = 'Any other problem, such as a request that HTTP does not allow (405, 408, 417, 431)'
  const headers = { Allow: { $ref: '#/components/headers/Allow' } }
  return { ...responses, default: { description, headers, content: problem } }
}

function parametersOf(operation: Operation, schemaOf: SchemaOf) {
  const { path, query, examples } = operation
  const described = (place: 'path' | 'query' | 'header', members: z.ZodObject) => {
    const { properties = {}, required = [] } = schemaOf(members, 'input')
    const values = Object.values(examples).map((example) => (place === 'path' ? undefined : example[place]))
    return Object.entries(properties).map(([name, { description, ...schema }]) => {
      const shown = [...new Set(values.flatMap((value) => value?.[name] ?? []))]
      return {
        name,
        in: place,
        required: required.includes(name),
        ...(description ? { description } : {}),
        // Inside the schema: the reference page would fill a parameter's own examples into its form, all at
        // once.
        schema: { ...schema, ...(shown.length > 0 ? { examples: shown } : {}) },
      }
    })
  }
  const inPath = [...path.matchAll(/:(\w+)/g)].map(([, name = '']) => [name, Id])
  return [
    ...described('path', z.object(Object.fromEntries(inPath))),
    ...(query ? described('query', query) : []),
    ...described('header', headersOf(operation)),
  ]
}
