/** The served OpenAPI document is valid, and the service does what it says: no status, type or body is missing in it. */
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { describe, expect, inject, test } from 'vitest'
import {
  type Answer,
  createClient,
  type DocumentedOperation,
  listOperations,
  type PreparedRequest,
  prepareRequest,
  problemFaults,
  type RequestOptions,
  reaches,
  taskPath,
} from '../support/client.ts'

const target = inject('wide')
const client = createClient(target)
const { request } = client
const { body: document } = await request('GET', '/openapi.json')
const operations = await listOperations(target)

const ajv = new Ajv2020({ strict: false, allErrors: true })
addFormats.default(ajv)
ajv.addSchema(withClosedAnswers(document), 'document')

/** Schemas of answers are open, since members may be added in time; but today's members are all documented. */
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
  // `allOf` has no more than rules about members that are declared beside it.
  for (const [name, inner] of Object.entries(part)) if (name !== 'allOf') close(inner)
}

/** What is wrong with a value by a schema of the document; null when nothing is. */
function schemaErrors(pointer: string[], value: unknown): string | null {
  const fragment = pointer.map((part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
  const validate = ajv.compile({ $ref: `document#/${fragment.join('/')}` })
  return validate(value) ? null : ajv.errorsText(validate.errors)
}

const table = (rows: DocumentedOperation[]) =>
  rows.map((operation) => [`${operation.method} ${operation.path}`, operation] as const)

function expectDocumented({ method, path, responses }: DocumentedOperation, answer: Answer) {
  const { status, headers, body } = answer
  const response = responses[status]
  expect(Object.keys(responses), JSON.stringify(body)).toContain(String(status))
  const documented = Object.keys(response?.headers ?? {})
  const inEach = (name: string) => document.components.headers[name].required
  expect(documented.filter((name) => inEach(name) && !headers.has(name))).toEqual([])
  // A precondition may be refused by a cached version, and says so.
  const known = Object.keys(document.components.headers).filter(
    (name) => name !== 'Cache-Status' || status < 400,
  )
  expect(documented).toEqual(expect.arrayContaining(known.filter((name) => headers.has(name))))
  const [mediaType] = (headers.get('Content-Type') ?? '').split(';')
  expect(Object.keys(response?.content ?? {})).toEqual(mediaType ? [mediaType] : [])
  if (status >= 400) expect(problemFaults(answer)).toEqual([])
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

test('every reference leads somewhere, and every schema is a schema', () => {
  const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(
    ([, to]) => to as string,
  )
  expect(references.length).toBeGreaterThan(10)
  for (const to of new Set(references)) {
    expect(to).toMatch(/^#\/components\/(schemas|headers)\/[\w-]+$/)
    const [, , kind = '', name = ''] = to.split('/')
    const referenced = document.components[kind][name]
    expect(ajv.validateSchema(kind === 'headers' ? referenced.schema : referenced), to).toBe(true)
  }
})

test('operations have names of their own and say which parameters their paths have', () => {
  const ids = operations.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
  for (const { method, path } of operations) {
    const { parameters = [], summary } = document.paths[path][method.toLowerCase()]
    const declared = parameters.filter((parameter: { in: string }) => parameter.in === 'path')
    expect(declared.map(({ name }: { name: string }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? [])
    expect(summary).toBeTruthy()
  }
})

test('the API is documented: nothing that the contract names is missing', () => {
  expect(operations.map(({ method, path }) => `${method} ${path}`).sort()).toEqual(
    [
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
    ].sort(),
  )
})

describe('every answer is documented, with the body it has', () => {
  const json = { 'Content-Type': 'application/json' }

  /** What goes wrong with any operation. */
  function mistakes(
    { authenticated, mediaTypes }: DocumentedOperation,
    { path }: PreparedRequest,
  ): (RequestOptions & { path?: string; anonymous?: true })[] {
    return [
      { path: `${path}?nope=1` },
      { token: 'nonsense' },
      ...(authenticated ? [{ anonymous: true } as const] : []),
      ...(mediaTypes.length > 0
        ? [
            { body: '{}', headers: json },
            { body: '{"nope":1}', headers: json },
            { body: '[]', headers: json },
            { body: '{', headers: json },
            { body: '{}', headers: { 'Content-Type': 'text/plain' } },
            { body: ' '.repeat(70_000), headers: json },
            { form: { nope: '1' } },
          ]
        : []),
      ...(/\d\/$/.test(path)
        ? ['0', '999999999', 'abc', '%00', '9'.repeat(30)]
            .filter((id) => reaches(target, id))
            .map((id) => ({ path: path.replace(/\d+/, id) }))
        : []),
      ...['"0"', '*', 'nonsense'].map((tag) => ({ headers: { ...json, 'If-Match': tag } })),
    ]
  }

  /** What can only happen to one operation. */
  const special: Record<string, (prepared: PreparedRequest) => Promise<Answer[]>> = {
    async register({ path, json = {} }) {
      await request('POST', path, { json })
      return [await request('POST', path, { json })]
    },
    createToken: async ({ path, json }) => [
      await request('POST', path, { json: { ...json, password: 'not the password' } }),
    ],
    refreshToken: async ({ path }) => [await request('POST', path, { json: { refresh_token: 'nonsense' } })],
    revokeToken: async ({ path }) => [await request('POST', path, { json: { refresh_token: 'nonsense' } })],
    changeMe: async ({ path, token = '' }) => [
      await request('PATCH', path, { token, json: { password: 'new password', current_password: 'wrong' } }),
      await request('PATCH', path, { token, json: { email: null } }),
    ],
    deleteMe: async ({ path, token = '' }) => [
      await request('DELETE', path, { token, json: { password: 'wrong' } }),
    ],
    async listTasks({ path, token = '' }) {
      await Promise.all([1, 2, 3].map(() => client.createTask(token)))
      const first = await request('GET', `${path}?limit=1&count=true`, { token })
      return [
        first,
        await request('GET', first.body.next, { token }),
        await request('GET', `${path}?cursor=nonsense`, { token }),
        await request('GET', `${path}?limit=0`, { token }),
      ]
    },
    createTask({ path, token = '' }) {
      const create = (title: string) =>
        request('POST', path, { token, json: { title }, headers: { 'Idempotency-Key': 'a-key' } })
      return Promise.all(['a', 'a', 'b'].map(create))
    },
    getTask: async ({ path, token = '' }) => [
      await request('GET', path, { token, headers: { 'If-None-Match': '*' } }),
    ],
    async deleteTask({ path, token = '' }) {
      const other = await client.register()
      await request('PATCH', path, { token, json: { assigned_to: other.id } })
      return [
        await request('DELETE', path, { token: other.token }),
        await request('DELETE', path, { token: (await client.register()).token }),
      ]
    },
  }

  /** 429 has a test of its own; the others need a service in another state, or a request that HTTP does not allow. */
  const elsewhere = (id: string) => [
    ...['429', '500', '503', 'default'],
    ...(id === 'register' ? ['403'] : []),
    ...(id === 'createTask' ? ['409'] : []),
  ]

  test.each(table(operations))('%s', async (_, operation) => {
    const prepared = await prepareRequest(client, operation)
    const { method, token, json } = prepared
    const answers: Answer[] = []
    for (const { path = prepared.path, anonymous, ...change } of mistakes(operation, prepared)) {
      const answer = await request(method, path, {
        ...(token && !anonymous ? { token } : {}),
        ...(json && change.body === undefined && !change.form ? { json } : {}),
        ...change,
      })
      answers.push(answer)
    }
    const fresh = await prepareRequest(client, operation)
    answers.push(...((await special[operation.id]?.(fresh)) ?? []))
    const { path, ...options } = await prepareRequest(client, operation)
    const good = await request(method, path, options)
    expect(good.status, JSON.stringify(good.body)).toBeLessThan(300)
    answers.push(good)

    for (const answer of answers) expectDocumented(operation, answer)
    // Back: what is documented does happen.
    const seen = new Set(answers.map(({ status }) => String(status)))
    const unseen = Object.keys(operation.responses).filter((status) => !seen.has(status))
    expect(unseen.filter((status) => !elsewhere(operation.id).includes(status))).toEqual([])
  })

  const limited = operations.filter(({ path }) => path.startsWith('/api/') && path !== '/api/rate-limit/')
  test.each(table(limited))('%s over the rate limit', async (_, operation) => {
    const small = createClient(inject('small'))
    const path = operation.path.replace('{id}', '1')
    for (let asked = 0; asked < 10 * small.target.limits.anonymous.limit; asked++) {
      const answer = await small.request(operation.method, path)
      expectDocumented(operation, answer)
      if (answer.status === 429) return
    }
    throw new Error('never refused')
  })
})

describe('a task as it was read', async () => {
  const { token } = await client.anyUser()
  const bodyOf = (path: string, method: string) => [
    ...['paths', path, method.toLowerCase(), 'requestBody', 'content', 'application/json', 'schema'],
  ]
  const readOnly = ['id', 'created_by', 'created_at', 'updated_at', 'completed_at']

  test.each(['PUT', 'PATCH'])('may be sent back by %s, its read-only members of any type', async (method) => {
    const task = await client.createTask(token)
    for (const value of [undefined, null, true, 7, 'seven', [7], { seven: 7 }]) {
      const replaced = Object.fromEntries(readOnly.map((name) => [name, value]))
      const body = value === undefined ? task : { ...task, ...replaced }
      expect(schemaErrors(bodyOf('/api/tasks/{id}/', method), body)).toBeNull()
      expect((await request(method, taskPath(task), { token, json: body })).status).toBe(200)
    }
    // Validators refuse such a member in a request.
    expect(JSON.stringify(document)).not.toContain('"readOnly"')
  })

  test('is refused by POST', async () => {
    const task = await client.createTask(token)
    expect(schemaErrors(bodyOf('/api/tasks/', 'POST'), task)).not.toBeNull()
    expect((await request('POST', '/api/tasks/', { token, json: task })).status).toBe(400)
  })
})

describe('what the document refuses is refused', () => {
  const values = [null, true, -1, 1.5, 1e300, '', 'a', 'é', ' '.repeat(80), 'x'.repeat(300), [], {}, ['a']]
  const withBody = operations.filter(({ mediaTypes }) => mediaTypes.length > 0)
  const withQuery = operations.filter(({ queryParameters }) => queryParameters.length > 0)

  test.each(table(withQuery))('in the query of %s, and what it shows is accepted', async (_, { path }) => {
    const { token } = await client.anyUser()
    const ask = (name: string, value: unknown) =>
      request('GET', `${path}?${new URLSearchParams({ [name]: String(value) })}`, { token })
    const texts = ['', '0', '-1', '1', '1.5', '101', '7x', 'me', 'none', 'true', 'TRUE', 'title', 'pending']
    texts.push('2026-11-22', '22.11.2026', '2026-11-22T07:04:60Z', '2026-11-22T07:04:05', 'x'.repeat(5000))
    let refused = 0
    for (const [index, parameter] of document.paths[path].get.parameters.entries()) {
      const { name, in: place, schema } = parameter
      if (place !== 'query') continue
      const pointer = ['paths', path, 'get', 'parameters', String(index), 'schema']
      for (const text of texts) {
        // What the text may stand for: the document has numbers and booleans, as clients do.
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

  test.each(table(withBody))('by %s', async (_, operation) => {
    const { method, path, token, json = {} } = await prepareRequest(client, operation)
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
    const { $ref = '' } = operation.body as { $ref?: string }
    const members = Object.keys(document.components.schemas[$ref.split('/').at(-1) ?? ''].properties)
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
      const answer = await request(method, path, { json: body, ...(token ? { token } : {}) })
      expect([answer.status, body]).toEqual([400, body])
    }
  })
})
