/** The OpenAPI document has the routes of the app, and examples that the schemas take. */
import { expect, test } from 'vitest'
import * as z from 'zod'
import { createApp, operations } from '../../src/app.ts'
import { describeOperations } from '../../src/http/openapi.ts'
import { headersOf } from '../../src/http/operation.ts'

/** Mounted only; it gets no request. */
const app = createApp({
  provide: () => {
    throw new Error('no request is made')
  },
  connectionAddress: () => undefined,
  proxiesAreNear: true,
  corsOrigins: ['https://app.example.com'],
  publicUrl: '',
  referencePage: (_, next) => next(),
})

/** The page that shows the document, and its files. */
const referencePage = ['GET /docs', 'GET /docs/*']

const withoutSlash = (path: string) => path.replace(/(.)\/$/, '$1')

test('the app has exactly the routes of the document and of the reference page', () => {
  const { paths } = describeOperations(operations, '') as { paths: Record<string, object> }
  const documented = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${withoutSlash(path)}`),
  )
  const routes = app.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${withoutSlash(path).replace(/:(\w+)/g, '{$1}')}`)
  expect([...new Set(routes)].sort()).toEqual([...documented, ...referencePage].sort())
})

test('the document names the server of PUBLIC_URL', () => {
  expect(describeOperations(operations, 'https://tasks.example.com')).toMatchObject({
    servers: [{ url: 'https://tasks.example.com' }],
  })
  expect(describeOperations(operations, '')).toMatchObject({ servers: [{ url: '/' }] })
})

const examples = operations.flatMap((operation) =>
  Object.entries(operation.examples).map(([name, example]) => ({
    id: operation.id,
    name,
    operation,
    example,
  })),
)

test('every operation has an example', () => {
  expect(new Set(examples.map(({ id }) => id))).toEqual(new Set(operations.map(({ id }) => id)))
})

const asSent = (values: object = {}) =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)]))
const nothing = z.strictObject({})

test.each(examples)('the example "$name" of $id fits its schemas', ({ operation, example }) => {
  const { query = nothing, body, answers } = operation
  expect(query.safeParse(asSent(example.query)).error).toBeUndefined()
  expect(headersOf(operation).strict().safeParse(asSent(example.header)).error).toBeUndefined()
  expect(body ? body.schema.safeParse(example.body).error : example.body).toBeUndefined()
  const { status = Number(Object.keys(answers)[0]), answer } = example
  const schema = answers[status]?.schema
  // Members that the schema does not have would be left out.
  expect(schema ? schema.parse(answer) : undefined).toEqual(answer)
})
