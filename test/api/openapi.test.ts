/**
 * The served OpenAPI document is valid, and describes every status, header and body that the service answers.
 */
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, type RequestOptions, reaches, taskPath } from '../support/client.ts'
import {
  createPreparer,
  type DocumentedOperation,
  listOperations,
  membersOf,
  readDocument,
  table,
  withId,
} from '../support/operations.ts'
import { expectProblem } from '../support/problems.ts'

const target = inject('wide')
const client = createClient(target)
const { request } = client
const document = await readDocument(target)
const operations = listOperations(document)
const { prepare, makeMember } = createPreparer(client, operations)

const ajv = new Ajv2020({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(withClosedAnswers(document), 'document')

/** The schemas of answers allow new members. Here every member has to be documented. */
function withClosedAnswers(whole: typeof document) {
  const copy = structuredClone(whole)
  close(copy)
  return copy
}

function close(part: unknown) {
  if (typeof part !== 'object' || part === null) return
  if ('properties' in part && !('additionalProperties' in part)) {
    Object.assign(part, { additionalProperties: false })
  }
  // `allOf` only has rules about members that are declared beside it.
  for (const [name, inner] of Object.entries(part)) if (name !== 'allOf') close(inner)
}

/** Errors of the value by a schema of the document; null when it is valid. */
function schemaErrors(pointer: string[], value: unknown): string | null {
  const fragment = pointer.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
  const validate = ajv.compile({ $ref: `document#/${fragment.join('/')}` })
  return validate(value) ? null : ajv.errorsText(validate.errors)
}

function expectDocumented({ method, path, responses }: DocumentedOperation, answer: Answer) {
  const { status, headers, body } = answer
  const response = responses[status]
  expect(Object.keys(responses), JSON.stringify(body)).toContain(String(status))
  const documented = Object.keys(response?.headers ?? {})
  const isRequired = (name: string) => document.components.headers[name]?.required
  expect(documented.filter((name) => isRequired(name) && !headers.has(name))).toEqual([])
  // A precondition that a cached version fails has Cache-Status too.
  const known = Object.keys(document.components.headers).filter(
    (name) => name !== 'Cache-Status' || status < 400,
  )
  expect(documented).toEqual(expect.arrayContaining(known.filter((name) => headers.has(name))))
  const [mediaType] = (headers.get('Content-Type') ?? '').split(';')
  expect(Object.keys(response?.content ?? {})).toEqual(mediaType ? [mediaType] : [])
  if (status >= 400) expectProblem(answer, status)
  if (!mediaType) return expect(body).toBe('')
  const pointer = ['paths', path, method.toLowerCase(), 'responses', String(status), 'content', mediaType]
  return expect(schemaErrors([...pointer, 'schema'], body), JSON.stringify(body)).toBeNull()
}

test('the document is valid OpenAPI 3.1', async () => {
  const validator = new Validator()
  const { valid, errors } = await validator.validate(structuredClone(document))
  expect({ valid, errors }).toEqual({ valid: true, errors: undefined })
  expect(document.openapi).toMatch(/^3\.1\.\d$/)
})

test('every reference resolves to a valid JSON schema', () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(
    ([, to]) => to as string,
  )
  expect(references.length).toBeGreaterThan(10)
  for (const to of new Set(references)) {
    expect(to).toMatch(/^#\/components\/(schemas|headers)\/[\w-]+$/)
    const [, , kind, name = ''] = to.split('/')
    const { headers, schemas } = document.components
    const schema = kind === 'headers' ? headers[name]?.schema : schemas[name]
    expect(schema && ajv.validateSchema(schema), to).toBe(true)
  }
})

test('every operation has a unique id, a summary and the parameters of its path', () => {
  const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.values(methods).map((operation) => ({ path, ...operation })),
  )
  expect(new Set(documented.map(({ operationId }) => operationId)).size).toBe(documented.length)
  for (const { path, parameters = [], summary } of documented) {
    const declared = parameters.filter((parameter) => parameter.in === 'path')
    expect(declared.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? [])
    expect(summary).toBeTruthy()
  }
})

test('every operation of the contract is documented', () => {
  const contract = [
    'POST /api/register/',
    'POST /api/token/',
    'POST /api/token/refresh/',
    'POST /api/token/revoke/',
    'GET /api/sessions/',
    'DELETE /api/sessions/{id}/',
    'GET /api/users/me/',
    'PATCH /api/users/me/',
    'DELETE /api/users/me/',
    'GET /api/users/',
    'GET /api/tasks/',
    'POST /api/tasks/',
    'GET /api/tasks/{id}/',
    'PUT /api/tasks/{id}/',
    'PATCH /api/tasks/{id}/',
    'DELETE /api/tasks/{id}/',
    'GET /api/rate-limit/',
    'GET /healthz',
    'GET /readyz',
    'GET /openapi.json',
  ]
  expect(operations.map(({ method, path }) => `${method} ${path}`)).toEqual(expect.arrayContaining(contract))
})

describe('every answer is documented', () => {
  const json = { 'Content-Type': 'application/json' }

  type Change = Omit<RequestOptions, 'token'> & { token?: string | undefined; query?: string; id?: string }

  /** Changes of a valid request, most of which make it invalid. */
  function changesOf(operation: DocumentedOperation, body: Record<string, unknown> = {}): Change[] {
    const { path, authenticated, mediaTypes, queryParameters, headerParameters } = operation
    return [
      { query: '?nope=1' },
      ...queryParameters.map((name) => ({ query: `?${name}=nonsense` })),
      ...(queryParameters.includes('limit') ? [{ query: '?limit=0' }] : []),
      { token: 'nonsense' },
      ...(authenticated ? [{ token: undefined }] : []),
      ...(mediaTypes.length > 0
        ? [
            { body: '{}', headers: json },
            { body: '{"nope":1}', headers: json },
            { body: '[]', headers: json },
            { body: '{', headers: json },
            { body: '{}', headers: { 'Content-Type': 'text/plain' } },
            { body: ' '.repeat(70_000), headers: json },
            { form: { nope: '1' } },
            ...Object.keys(body).map((name) => ({ json: { ...body, [name]: 'nonsense' } })),
          ]
        : []),
      ...(path.includes('{')
        ? ['0', '999999999', 'abc', '%00', '9'.repeat(30)]
            .filter((id) => reaches(target, id))
            .map((id) => ({ id }))
        : []),
      ...(headerParameters.includes('If-None-Match') ? [{ headers: { 'If-None-Match': '*' } }] : []),
      ...['"0"', '*', 'nonsense'].map((tag) => ({ headers: { ...json, 'If-Match': tag } })),
    ]
  }

  async function answersToChanges(operation: DocumentedOperation): Promise<Answer[]> {
    const { method, path, options } = await prepare(operation)
    const answers: Answer[] = []
    for (const { query = '', id, ...change } of changesOf(operation, options.json)) {
      const { json, token, ...rest } = { ...options, ...change }
      const at = id === undefined ? path : withId(operation.path, id)
      answers.push(
        await request(method, at + query, {
          ...rest,
          ...(token === undefined ? {} : { token }),
          ...(json && change.body === undefined && !change.form ? { json } : {}),
        }),
      )
    }
    return answers
  }

  /** Answers to every example, to the first again, and to requests of users who may not make them. */
  async function answersToExamples(operation: DocumentedOperation): Promise<Answer[]> {
    const { examples, responses } = operation
    const answers: Answer[] = []
    for (const example of examples.length > 0 ? examples.keys() : [0]) {
      const { method, path, options } = await prepare(operation, example)
      const [stranger, colleague] = [await client.register(), await client.register()]
      if (path !== operation.path) answers.push(await request(method, path, { ...options, ...stranger }))
      const [task] = /^\/api\/tasks\/\d+\//.exec(path) ?? []
      if (task && responses['403']) {
        // An assignee sees the task, but may not do what only its creator may.
        await request('PATCH', task, { ...options, json: { assigned_to: colleague.id } })
        answers.push(await request(method, path, { ...options, ...colleague }))
      }
      const good = await request(method, path, options)
      expect(good.status, JSON.stringify(good.body)).toBeLessThan(300)
      answers.push(good, await request(method, path, options))
    }
    return answers
  }

  /** Answers to repeats with the same and with another body. */
  async function answersToRepeats(operation: DocumentedOperation): Promise<Answer[]> {
    if (!operation.headerParameters.includes('Idempotency-Key')) return []
    const { method, path, options } = await prepare(operation)
    const { options: others } = await prepare(operation, 1)
    const headers = { 'Idempotency-Key': 'a-key' }
    return Promise.all([options, options, others].map((sent) => request(method, path, { ...sent, headers })))
  }

  /** Answers to every documented filter, and to two pages. */
  async function answersToQueries(operation: DocumentedOperation): Promise<Answer[]> {
    const { queryParameters } = operation
    if (queryParameters.length === 0) return []
    const { method, path, options, user } = await prepare(operation)
    const paged = queryParameters.includes('limit')
    if (paged) for (let made = 0; made < 2; made++) await makeMember(operation.path, path, user)
    const { parameters = [] } = document.paths[operation.path]?.[method.toLowerCase()] ?? {}
    const queries = parameters.flatMap(({ name, schema }) =>
      (schema.examples ?? []).map((value) => new URLSearchParams({ [name]: String(value) })),
    )
    const answers: Answer[] = []
    for (const query of queries) answers.push(await request(method, `${path}?${query}`, options))
    if (!paged) return answers
    const first = await request(method, `${path}?limit=1`, options)
    return [...answers, first, await request(method, first.body.next, options)]
  }

  /** A 429 has a test of its own; the others need a service in another state, or are a matter of luck. */
  const elsewhere = ({ authenticated, headerParameters }: DocumentedOperation) => [
    ...['429', '500', '503', 'default'],
    ...(authenticated ? [] : ['403']),
    ...(headerParameters.includes('Idempotency-Key') ? ['409'] : []),
  ]

  test.each(table(operations))('%s', async (_, operation) => {
    const answers = [
      ...(await answersToChanges(operation)),
      ...(await answersToQueries(operation)),
      ...(await answersToRepeats(operation)),
      ...(await answersToExamples(operation)),
    ]
    for (const answer of answers) expectDocumented(operation, answer)
    const seen = new Set(answers.map(({ status }) => String(status)))
    const unseen = Object.keys(operation.responses).filter((status) => !seen.has(status))
    expect(unseen.filter((status) => !elsewhere(operation).includes(status))).toEqual([])
  })

  const limited = operations.filter(({ path }) => path.startsWith('/api/') && path !== '/api/rate-limit/')
  test.each(table(limited))('%s over the rate limit', async (_, operation) => {
    const small = createClient(inject('small'))
    const path = withId(operation.path)
    for (let asked = 0; asked < 10 * small.target.limits.anonymous.limit; asked++) {
      const answer = await small.request(operation.method, path)
      expectDocumented(operation, answer)
      if (answer.status === 429) return
    }
    throw new Error('never refused')
  })
})

describe('a task as it was read', () => {
  const bodyOf = (path: string, method: string) => [
    ...['paths', path, method.toLowerCase(), 'requestBody', 'content', 'application/json', 'schema'],
  ]
  const readOnly = ['id', 'created_by', 'created_at', 'updated_at', 'completed_at']

  test.each(['PUT', 'PATCH'])('may be sent back by %s, its read-only members of any type', async (method) => {
    const { token } = await client.anyUser()
    const task = await client.createTask(token)
    for (const value of [undefined, null, true, 7, 'seven', [7], { seven: 7 }]) {
      const replaced = Object.fromEntries(readOnly.map((name) => [name, value]))
      const body = value === undefined ? task : { ...task, ...replaced }
      expect(schemaErrors(bodyOf('/api/tasks/{id}/', method), body)).toBeNull()
      expect((await request(method, taskPath(task), { token, json: body })).status).toBe(200)
    }
    // Validators would refuse a `readOnly` member in a request.
    expect(JSON.stringify(document)).not.toContain('"readOnly"')
  })

  test('is refused by POST', async () => {
    const { token } = await client.anyUser()
    const task = await client.createTask(token)
    expect(schemaErrors(bodyOf('/api/tasks/', 'POST'), task)).not.toBeNull()
    expect((await request('POST', '/api/tasks/', { token, json: task })).status).toBe(400)
  })
})

describe('input that the document does not allow is refused', () => {
  const values = [null, true, -1, 1.5, 1e300, '', 'a', 'é', ' '.repeat(80), 'x'.repeat(300), [], {}, ['a']]
  const withBody = operations.filter(({ mediaTypes }) => mediaTypes.length > 0)
  const withQuery = operations.filter(({ queryParameters }) => queryParameters.length > 0)

  test.each(table(withQuery))('in the query of %s, and its examples are accepted', async (_, operation) => {
    const { path } = operation
    const prepared = await prepare(operation)
    const ask = (name: string, value: unknown) =>
      request('GET', `${prepared.path}?${new URLSearchParams({ [name]: String(value) })}`, prepared.options)
    const texts = ['', '0', '-1', '1', '1.5', '101', '7x', 'me', 'none', 'true', 'TRUE', 'title', 'pending']
    texts.push('2026-11-22', '22.11.2026', '2026-11-22T07:04:60Z', '2026-11-22T07:04:05', 'x'.repeat(5000))
    let refused = 0
    for (const [index, parameter] of (document.paths[path]?.get?.parameters ?? []).entries()) {
      const { name, in: place, schema } = parameter
      if (place !== 'query') continue
      const pointer = ['paths', path, 'get', 'parameters', String(index), 'schema']
      for (const text of texts) {
        // The text may stand for a number or a boolean.
        const meanings = [text, ...(text === '' ? [] : [Number(text)]), ...(text === 'true' ? [true] : [])]
        if (meanings.some((value) => schemaErrors(pointer, value) === null)) continue
        refused++
        expect([(await ask(name, text)).status, name, text]).toEqual([400, name, text])
      }
      for (const value of schema.examples ?? []) {
        expect([(await ask(name, value)).status, name, value]).toEqual([200, name, value])
      }
    }
    expect(refused).toBeGreaterThan(0)
  })

  test.each(table(withBody))('in the body of %s', async (_, operation) => {
    const { method, path, options } = await prepare(operation)
    const { json = {} } = options
    const [mediaType = ''] = operation.mediaTypes
    const pointer = [
      'paths',
      operation.path,
      method.toLowerCase(),
      'requestBody',
      'content',
      mediaType,
      'schema',
    ]
    const members = membersOf(document, operation)
    expect(schemaErrors(pointer, json)).toBeNull()
    const bodies: object[] = [
      ...members.flatMap((member) => values.map((value) => ({ ...json, [member]: value }))),
      ...Object.keys(json).map((member) => ({ ...json, [member]: undefined })),
      { ...json, nope: 1 },
      [],
    ].map((body) => JSON.parse(JSON.stringify(body)))
    const refused = bodies.filter((body) => schemaErrors(pointer, body) !== null)
    expect(refused.length).toBeGreaterThan(10)
    for (const body of refused) {
      const answer = await request(method, path, { ...options, json: body })
      expect([answer.status, body]).toEqual([400, body])
    }
  })
})
