/** Conventions that every operation keeps, and the paths around the API. */
import { STATUS_CODES } from 'node:http'
import { describe, expect, inject, test, vi } from 'vitest'
import {
  type Answer,
  createClient,
  newAddress,
  newName,
  type RequestOptions,
  reaches,
} from '../support/client.ts'
import {
  createPreparer,
  type DocumentedOperation,
  listOperations,
  readDocument,
  table,
  withId,
} from '../support/operations.ts'
import { expectProblem, places } from '../support/problems.ts'
import { words } from '../support/words.ts'

const target = inject('wide')
const client = createClient(target)
const { request } = client
const operations = listOperations(await readDocument(target))
const { prepare, send } = createPreparer(client, operations)
const withBody = operations.filter(({ mediaTypes }) => mediaTypes.length > 0)
const paths = [...new Set(operations.map(({ path }) => path))]

describe('paths', () => {
  test.each(paths.filter((path) => path.startsWith('/api')))('%s ends in a slash', (path) => {
    expect(path).toMatch(/\/$/)
  })

  test.each(table(operations.filter(({ path }) => path.startsWith('/api'))))(
    '%s answers the same without the slash at the end',
    async (_, operation) => {
      const [canonical, bare] = await Promise.all(
        [true, false].map(async (slash) => {
          const { method, path, options } = await prepare(operation)
          return request(method, slash ? path : path.slice(0, -1), options)
        }),
      )
      expect(canonical?.status).toBeLessThan(300)
      expect(bare?.status).toBe(canonical?.status)
      expect(Object.keys(bare?.body)).toEqual(Object.keys(canonical?.body))
      const withQuery = await send(operation, { query: '?nope=1' })
      expectProblem(withQuery, 400)
    },
  )

  const unknown = [
    ...words(`
      / /api /api/ /api/nothing/ /api/nothing/1/ /api/task/ /api/tasks/1/2/ /api/tasks/1/.json
      /api/users/1/ /api/sessions/me/1/ /API/tasks/ /api/TASKS/ /api/register/x/ /healthz/x
      /api/users/me/tasks/ /openapi.yaml /favicon.ico /.env /docs.html /docs/nothing.js /docs/..%2f..%2fapi.js
      /docs/%2e%2e%2fapi.js /docs/%00
    `),
    `/${'a'.repeat(4000)}/`,
  ].filter((path) => reaches(target, path))
  test.each(unknown)('%s is a 404, with a token or without', async (path) => {
    const { token } = await client.anyUser()
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      for (const options of [{}, { token }, { token: 'nonsense' }]) {
        const answer = await request(method, path, options)
        expectProblem(answer, 404)
        expect(answer.headers.get('WWW-Authenticate')).toBeNull()
      }
    }
  })

  test.each(paths.filter((path) => path !== '/'))('%s with a slash too many is a 404', async (path) => {
    const at = withId(path).replace(/\/?$/, '//')
    for (const method of ['GET', 'POST', 'DELETE']) expectProblem(await request(method, at), 404)
  })

  const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']
  const refused = paths.flatMap((path) => {
    const known = operations.filter((operation) => operation.path === path).map(({ method }) => method)
    const allowed = [...known, ...(known.includes('GET') ? ['HEAD'] : []), 'OPTIONS']
    const others = [...methods, 'HEAD', 'PROPFIND'].filter((method) => !allowed.includes(method))
    return others.map((method) => [method, path, allowed.sort()] as const)
  })
  test.each(refused)(
    '%s %s is a 405 that allows %j, with a token or without',
    async (method, path, allowed) => {
      const at = withId(path)
      const { token } = await client.anyUser()
      const answers = [
        await request(method, at),
        await request(method, at.replace(/(.)\/$/, '$1')),
        await request(method, at, { token: 'nonsense' }),
        await request(method, at, {
          token,
          ...(['GET', 'HEAD'].includes(method) ? {} : { body: 'not even a body' }),
        }),
      ]
      for (const answer of answers) {
        if (method === 'HEAD') expect(answer.status).toBe(405)
        else expectProblem(answer, 405)
        expect(answer.headers.get('Allow')?.split(', ').sort()).toEqual(allowed)
      }
    },
  )

  test.each(methods.slice(1))('%s /docs is a 405', async (method) => {
    const answer = await request(method, '/docs')
    expectProblem(answer, 405)
    expect(answer.headers.get('Allow')?.split(', ').sort()).toEqual(['GET', 'HEAD', 'OPTIONS'])
  })

  test.each([...new Set([...paths, '/docs'])].filter((path) => path !== '/'))(
    'OPTIONS %s is a 204 with Allow, with a token or without',
    async (path) => {
      const at = withId(path)
      const known = operations.filter((operation) => operation.path === path)
      const methods = path === '/docs' ? ['GET'] : known.map(({ method }) => method)
      const { token } = await client.anyUser()
      const answers = [
        await request('OPTIONS', at),
        await request('OPTIONS', at.replace(/(.)\/$/, '$1')),
        await request('OPTIONS', `${at}?whatever=1`, { token }),
        await request('OPTIONS', at, { token: 'nonsense', body: 'not even a body' }),
        await request('OPTIONS', at, { headers: { Origin: target.corsOrigin } }),
      ]
      const mediaTypesOf = (method: string) =>
        known.find((operation) => operation.method === method)?.mediaTypes.join(', ') ?? null
      for (const { status, headers, body } of answers) {
        expect([status, body]).toEqual([204, ''])
        expect(headers.get('Allow')?.split(', ').sort()).toEqual(
          [...methods, ...(methods.includes('GET') ? ['HEAD'] : []), 'OPTIONS'].sort(),
        )
        expect(headers.get('Accept-Patch')).toBe(mediaTypesOf('PATCH'))
        expect(headers.get('Accept-Post')).toBe(mediaTypesOf('POST'))
        expect(headers.has('X-Request-Id')).toBe(true)
      }
    },
  )

  test('OPTIONS of an unknown path is a 404', async () => {
    expectProblem(await request('OPTIONS', '/api/nothing/'), 404)
  })

  const gets = operations.filter(({ method }) => method === 'GET')
  test.each([...gets.map((operation) => [operation.path, operation] as const), ['/docs', null] as const])(
    'HEAD %s answers as GET does, without a body',
    async (path, operation) => {
      const { path: at, options } = operation ? await prepare(operation) : { path, options: {} }
      const get = await request('GET', at, options)
      const head = await request('HEAD', at, options)
      expect(head.body).toBe('')
      expect(head.status).toBe(get.status)
      expect(get.status).toBe(200)
      for (const header of ['Content-Type', 'ETag', 'Cache-Control', 'Content-Security-Policy', 'Link'])
        expect([header, head.headers.get(header)]).toEqual([header, get.headers.get(header)])
      // RFC 9110 section 8.6: it may be left out, but not be another.
      expect([null, get.headers.get('Content-Length')]).toContain(head.headers.get('Content-Length'))
      expect((await request('HEAD', `${at}?nope=1`, options)).status).toBe(operation ? 400 : 200)
    },
  )
})

describe('bodies', () => {
  const formType = 'application/x-www-form-urlencoded'
  const withForm = withBody.filter(({ mediaTypes }) => mediaTypes.includes(formType))

  test('registering and the token endpoints take forms, operations that need a token do not', () => {
    expect(withForm.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['/api/register/', '/api/token/', '/api/token/refresh/', '/api/token/revoke/']),
    )
    expect(withForm.filter(({ authenticated }) => authenticated)).toEqual([])
  })

  test.each(table(withBody))('%s takes JSON, and a merge patch exactly if it is a PATCH', (_, operation) => {
    const { method, mediaTypes } = operation
    const patch = method === 'PATCH' ? ['application/merge-patch+json'] : []
    expect(mediaTypes.filter((type) => type !== formType)).toEqual(['application/json', ...patch])
  })

  test.each(table(withBody))('%s takes a form only where that is documented', async (_, operation) => {
    const { method, path, options } = await prepare(operation)
    const { json = {}, ...rest } = options
    const form = Object.fromEntries(Object.entries(json).map(([name, value]) => [name, String(value)]))
    const answer = await request(method, path, { form, ...rest })
    if (withForm.includes(operation)) expect(answer.status).toBeLessThan(300)
    else expectProblem(answer, 415)
  })

  test.each(table(withBody))('%s takes a merge patch only when it is a PATCH', async (_, operation) => {
    const answer = await send(operation, { headers: { 'Content-Type': 'application/merge-patch+json' } })
    if (operation.method === 'PATCH') expect(answer.status).toBe(200)
    else expectProblem(answer, 415)
  })

  test.each(table(withBody))(
    '%s takes its media type in any case, with UTF-8 as its charset',
    async (_, operation) => {
      for (const type of [
        'Application/JSON',
        'application/json;charset=utf-8',
        'application/json ; charset="UTF-8"',
      ])
        expect((await send(operation, { headers: { 'Content-Type': type } })).status).toBeLessThan(300)
    },
  )

  test.each(table(withBody))('%s refuses other media types with 415', async (_, operation) => {
    const { token } = await client.anyUser()
    const path = withId(operation.path)
    const body = new TextEncoder().encode('{}')
    const refused: Record<string, string>[] = [
      {},
      { 'Content-Type': '' },
      { 'Content-Type': 'text/plain' },
      { 'Content-Type': 'application/xml' },
      { 'Content-Type': 'json' },
      { 'Content-Type': 'text/json' },
      { 'Content-Type': 'application/jsonp' },
      { 'Content-Type': 'application/vnd.api+json' },
      { 'Content-Type': 'multipart/form-data; boundary=x' },
      { 'Content-Type': 'application/json, application/json' },
      { 'Content-Type': 'application/json; charset=iso-8859-1' },
      { 'Content-Type': 'application/json; charset=utf-16' },
      { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
      { 'Content-Type': 'application/json', 'Content-Encoding': 'br, identity' },
    ]
    for (const headers of refused) {
      const answer = await request(operation.method, path, { token, body, headers })
      expectProblem(answer, 415)
      // RFC 9110 section 15.5.16, RFC 5789 section 3.1: what would be taken instead.
      const told = (header: string) => answer.headers.get(header)
      const ofCoding = 'Content-Encoding' in headers
      const taken = ofCoding ? null : operation.mediaTypes.join(', ')
      expect(told('Accept')).toBe(taken)
      expect(told('Accept-Patch')).toBe(operation.method === 'PATCH' ? taken : null)
      expect(told('Accept-Post')).toBe(operation.method === 'POST' ? taken : null)
      expect(told('Accept-Encoding')).toBe(ofCoding ? 'identity' : null)
    }
    expectProblem(await request(operation.method, path, { token }), 415)
  })

  const utf8 = (text: string) => new TextEncoder().encode(text)
  test.each(table(withBody))('%s refuses malformed JSON with 400', async (_, operation) => {
    const { token } = await client.anyUser()
    const path = withId(operation.path)
    const malformed = [
      ...`| |{|{"title":|{"title":"a",}|{'title':'a'}|{title:"a"}|{"title":"a"}{}`.split('|'),
      ...'{"title":NaN}|{"title":01}'.split('|'),
      '{"title":"\u0001"}',
      '{"title":"\\x41"}',
      '// title\n{}',
      '\ufffe{}',
      'NaN',
      'undefined',
      '['.repeat(60_000),
      'title=a',
    ].map(utf8)
    const notUtf8 = [
      [0xff],
      [0xe9],
      [0xc3, 0x28],
      // '/' in more bytes than it needs, and half of a surrogate pair.
      [0xc0, 0xaf],
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
    ].map((bytes) => new Uint8Array([...utf8('{"title":"'), ...bytes, ...utf8('"}')]))
    for (const body of [...malformed, ...notUtf8]) {
      const headers = { 'Content-Type': 'application/json' }
      expectProblem(await request(operation.method, path, { token, body, headers }), 400)
    }
  })

  test.each(table(withBody))('%s refuses JSON other than an object with 400', async (_, operation) => {
    const { method, path, options } = await prepare(operation)
    const { json, ...rest } = options
    for (const body of ['null', 'true', '0', '""', '[]', '[{}]', '"title"']) {
      const headers = { 'Content-Type': 'application/json' }
      const answer = await request(method, path, { ...rest, body, headers })
      expectProblem(answer, 400)
      expect(new Set(places(answer))).toEqual(new Set(['']))
    }
  })

  test.each(table(withForm))(
    '%s refuses a form that is not UTF-8, repeats a member or is too large',
    async (_, operation) => {
      const [member = ''] = Object.keys(operation.examples[0] ?? {})
      const headers = { 'Content-Type': formType }
      expectProblem(await send(operation, { body: `${member}=%FF`, headers }), 400)
      expectProblem(await send(operation, { body: `${member}=${'x'.repeat(70_000)}`, headers }), 413)
      const twice = await send(operation, { body: `${member}=a&${member}=b`, headers })
      expectProblem(twice, 400)
      expect(places(twice)).toContain(`/${member}`)
      const nul = await send(operation, { body: `${member}=a%00b`, headers })
      expectProblem(nul, 400)
      expect(places(nul)).toContain(`/${member}`)
    },
  )

  const limit = 64 * 1024
  const padded = (json: object, size: number) => JSON.stringify(json).padEnd(size)

  test.each(table(withBody))('%s takes 64 KiB and refuses a byte more with 413', async (_, operation) => {
    const headers = { 'Content-Type': 'application/json' }
    const { json = {} } = (await prepare(operation)).options
    // The password or token is another user's, so it may be refused, but not as too large.
    const largest = await send(operation, { body: padded(json, limit), headers })
    expect([200, 201, 204, 400, 401]).toContain(largest.status)
    expectProblem(await send(operation, { body: padded(json, limit + 1), headers }), 413)
  })

  const chunked = async (operation: DocumentedOperation, size: number) => {
    const { method, path, options } = await prepare(operation)
    const { token, json = {} } = options
    const bytes = utf8(padded(json, size))
    let sent = 0
    const response = await fetch(new URL(path, target.baseUrl), {
      method,
      headers: {
        'Content-Type': 'application/json',
        [target.addressHeader]: client.address,
        ...(token ? { Authorization: `Bearer ${token}` } : {}),
      },
      duplex: 'half',
      // A stream has no known length, so fetch sends it in chunks.
      body: new ReadableStream({
        pull(controller) {
          if (sent >= bytes.length) return controller.close()
          controller.enqueue(bytes.subarray(sent, sent + 10_000))
          sent += 10_000
        },
      }),
    })
    const text = await response.text()
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) }
  }

  test.each(table(withBody))('%s has the same limit for a body of unknown length', async (_, operation) => {
    expect((await chunked(operation, limit)).status).toBeLessThan(300)
    expectProblem(await chunked(operation, limit + 1), 413)
  })

  // nginx answers with a page of its own.
  test.skipIf(target.behindNginx)('a body of 8 MiB is answered with 413', async () => {
    const { token } = await client.anyUser()
    for (const path of ['/api/tasks/', '/api/register/', '/api/nothing/']) {
      const send = () =>
        request('POST', path, {
          token,
          body: ' '.repeat(8 * 1024 * 1024),
          headers: { 'Content-Type': 'application/json' },
        })
      // The server may close after its answer, which fails a client that is still sending.
      const answer = await vi.waitFor(send, { timeout: 60_000 })
      expectProblem(answer, path === '/api/nothing/' ? 404 : 413)
    }
  })
})

describe('invalid input', () => {
  test.each(table(withBody))(
    '%s refuses an unknown member, names it and changes nothing',
    async (_, operation) => {
      const { method, path, options } = await prepare(operation)
      const { json, ...rest } = options
      for (const member of ['nope', 'Title', '__proto__', 'constructor', 'toString', '']) {
        const body = `{${JSON.stringify(member)}:1,${JSON.stringify(json).slice(1)}`
        const answer = await request(method, path, {
          ...rest,
          body,
          headers: { 'Content-Type': 'application/json' },
        })
        expectProblem(answer, 400)
        expect(places(answer)).toEqual([`/${member}`])
      }
      // Nothing was spent, changed or deleted, so the valid request still succeeds.
      expect((await request(method, path, options)).status).toBeLessThan(300)
    },
  )

  test.each(table(operations))(
    '%s refuses an unknown parameter, names it and changes nothing',
    async (_, operation) => {
      const { method, path, options } = await prepare(operation)
      for (const parameter of ['nope', 'Limit', '__proto__', 'constructor', 'a[]', 'é']) {
        const answer = await request(method, `${path}?${encodeURIComponent(parameter)}=1`, options)
        expectProblem(answer, 400)
        expect(places(answer)).toEqual([parameter])
      }
      expect((await request(method, path, options)).status).toBeLessThan(300)
    },
  )

  test('a parameter without a name is refused as unknown', async () => {
    const { token } = await client.anyUser()
    expectProblem(await request('GET', '/api/tasks/?=completed', { token }), 400)
    expectProblem(await request('GET', '/api/tasks/?limit=1&=completed', { token }), 400)
    expectProblem(await request('GET', '/api/tasks/?limit=1&=', { token }), 400)
    expect((await request('GET', '/api/tasks/?search=huh?=1', { token })).status).toBe(200)
  })

  test.each(['%ff', 'a%20%FF', '%ed%a0%80', '%c0%af', '%e2%82', '%f5%80%80%80', '%25%80'])(
    'a parameter that is not UTF-8 is refused: %s',
    async (value) => {
      const { token } = await client.anyUser()
      for (const path of ['/api/tasks/', '/api/users/']) {
        const answer = await request('GET', `${path}?search=${value}`, { token })
        expectProblem(answer, 400)
        expect(places(answer)).toEqual(['search'])
      }
      expectProblem(await request('GET', `/api/tasks/?${value}=1`, { token }), 400)
    },
  )

  test('a percent sign without two hexadecimal digits is taken literally', async () => {
    const { token } = await client.register()
    const task = await client.createTask(token, { title: 'café 100% %zz' })
    for (const search of ['100%', '%zz', 'caf%C3%A9+100%', '100%25%20%', '%zz&limit=1']) {
      const { status, body } = await request('GET', `/api/tasks/?search=${search}`, { token })
      expect([search, status, body.results]).toEqual([search, 200, [task]])
    }
  })

  test.each(table(operations).filter(([, { queryParameters }]) => queryParameters.length > 0))(
    '%s refuses a repeated parameter',
    async (_, operation) => {
      const { method, path, options } = await prepare(operation)
      for (const parameter of operation.queryParameters) {
        const answer = await request(method, `${path}?${parameter}=1&${parameter}=1`, options)
        expectProblem(answer, 400)
        expect(places(answer)).toContain(parameter)
      }
    },
  )

  test('an error of a header is reported with those of body and query', async () => {
    const { token } = await client.anyUser()
    const answer = await request('POST', '/api/tasks/?x=1', {
      token,
      json: { title: '' },
      headers: { 'Idempotency-Key': 'two words' },
    })
    expectProblem(answer, 400)
    expect(places(answer)).toEqual(['/title', 'Idempotency-Key', 'x'])
  })

  test.each([
    ['JSON', { json: { username: 'not a name', password: 'short', email: 'nobody', nope: 1 } }],
    ['a form', { form: { username: 'not a name', password: 'short', email: 'nobody', nope: '1' } }],
  ])('all errors of %s are reported at once', async (_, options) => {
    const answer = await request('POST', '/api/register/?next=/', options)
    expectProblem(answer, 400)
    expect(places(answer)).toEqual(['/email', '/nope', '/password', '/username', 'next'])
  })

  test('a missing current password is reported with the errors of other members', async () => {
    const { token } = await client.anyUser()
    const answer = await request('PATCH', '/api/users/me/', {
      token,
      json: { email: 'x', password: 'short' },
    })
    expect(places(answer)).toEqual(['/current_password', '/email', '/password'])
  })
})

describe('text', () => {
  test.each(table(withBody))(
    '%s refuses U+0000 and lone surrogates in every member with 400',
    async (_, operation) => {
      const { method, path, options } = await prepare(operation)
      const { json = {}, ...rest } = options
      const headers = { 'Content-Type': 'application/json' }
      const escapes = words(String.raw`\u0000 abc\u0000defghij \ud800 abcdefgh\udc00 \udc00\ud800`)
      for (const escaped of escapes) {
        for (const member of Object.keys(json)) {
          const body = JSON.stringify({ ...json, [member]: '?' }).replace('?', escaped)
          const answer = await request(method, path, { ...rest, body, headers })
          expectProblem(answer, 400)
          expect(places(answer)).toContain(`/${member}`)
        }
      }
    },
  )

  test.each([
    ['/api/tasks/', 'search'],
    ['/api/tasks/', 'cursor'],
    ['/api/users/', 'search'],
  ])('U+0000 in the query of %s is a 400', async (path, parameter) => {
    const { token } = await client.anyUser()
    const answer = await request('GET', `${path}?${parameter}=a%00b`, { token })
    expectProblem(answer, 400)
    expect(places(answer)).toEqual([parameter])
  })
})

test('times are RFC 3339 in UTC with milliseconds, ids are integers', async () => {
  const time = /^20\d\d-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z$/
  const username = newName()
  const user = await request('POST', '/api/register/', { json: { username, password: 'correct horse' } })
  const { token } = await client.logIn(username, 'correct horse')
  const task = await request('POST', '/api/tasks/', {
    token,
    json: { title: 'Buy milk', status: 'completed', assigned_to: user.body.id },
  })
  const sessions = await request('GET', '/api/sessions/', { token })
  const [session] = sessions.body.results
  const times = [
    user.body.created_at,
    (await request('GET', '/api/users/me/', { token })).body.created_at,
    task.body.created_at,
    task.body.updated_at,
    task.body.completed_at,
    session.created_at,
    session.last_used_at,
    session.expires_at,
  ]
  for (const value of times) {
    expect(value).toMatch(time)
    expect(new Date(value).toISOString()).toBe(value)
  }
  expect(Math.abs(Date.parse(task.body.created_at) - Date.now())).toBeLessThan(60_000)
  for (const id of [user.body.id, task.body.id, task.body.created_by, task.body.assigned_to, session.id])
    expect(id).toSatisfy((value) => Number.isSafeInteger(value) && value > 0)
})

describe('X-Request-Id', () => {
  const pathsOfAnyKind = ['/healthz', '/api/tasks/', '/nothing', '/api/rate-limit/', '/docs', '/docs/nothing']

  test.each(['4f1d5f0c-5d0e-4a3c-9d0b-1f6e1f4f7d11', 'req_1', '01HZX3Y7Q8', 'trace-1.2'])(
    '%s is kept',
    async (id) => {
      for (const path of pathsOfAnyKind) {
        const { headers } = await request('GET', path, { headers: { 'X-Request-Id': id } })
        expect(headers.get('X-Request-Id')).toBe(id)
      }
    },
  )

  test.each(['', ' ', 'a b', 'a,b', '"quoted"', '<script>', '{"a":1}', 'é', '\\', 'a'.repeat(1000)])(
    '%j is replaced',
    async (id) => {
      const seen = new Set<string | null>()
      for (const path of pathsOfAnyKind) {
        const { headers } = await request('GET', path, { headers: { 'X-Request-Id': id } })
        expect(headers.get('X-Request-Id')).toMatch(/^[\w-]{8,64}$/)
        seen.add(headers.get('X-Request-Id'))
      }
      expect(seen.size).toBe(pathsOfAnyKind.length)
    },
  )

  test.each(table(operations))('%s sends one with success and with failure', async (_, operation) => {
    expect((await send(operation)).headers.get('X-Request-Id')).toBeTruthy()
    const failed = await send(operation, { query: '?nope' })
    expect(failed.headers.get('X-Request-Id')).toBeTruthy()
  })
})

describe('problem documents', () => {
  test.each([400, 401, 403, 404, 405, 409, 412, 413, 415, 422])(
    'a %i has the type and title of its status',
    async (status) => {
      const [creator, assignee] = await Promise.all([client.register(), client.register()])
      const { token } = creator
      const task = await client.createTask(token, { assigned_to: assignee.id })
      const path = `/api/tasks/${task.id}/`
      const key = { 'Idempotency-Key': 'a-key' }
      if (status === 422) await request('POST', '/api/tasks/', { token, json: { title: 'a' }, headers: key })
      const answers: Record<number, () => Promise<Answer>> = {
        400: () => request('GET', '/api/tasks/?limit=0', { token }),
        401: () => request('GET', path, { token: `${token}x` }),
        403: () => request('DELETE', path, { token: assignee.token }),
        404: () => request('GET', '/api/tasks/0/', { token }),
        405: () => request('POST', path, { token }),
        409: () =>
          request('POST', '/api/register/', {
            json: { username: creator.username, password: 'correct horse' },
          }),
        412: () => request('DELETE', path, { token, headers: { 'If-Match': '"0"' } }),
        413: () => request('PUT', path, { token, json: { title: 'a'.repeat(70_000) } }),
        415: () => request('PUT', path, { token, body: 'title' }),
        422: () => request('POST', '/api/tasks/', { token, json: { title: 'b' }, headers: key }),
      }
      const answer = await answers[status]?.()
      if (!answer) throw new Error(`nothing answers ${status}`)
      expectProblem(answer, status)
      // RFC 9457 section 4.2.1; 413 and 422 have other names in RFC 9110 than node:http knows.
      const phrases: Record<number, string> = { 413: 'Content Too Large', 422: 'Unprocessable Content' }
      expect(answer.body).toMatchObject({
        type: 'about:blank',
        title: phrases[status] ?? STATUS_CODES[status],
      })
      expect(answer.headers.get('Cache-Control')).toBe('no-store')
    },
  )
})

describe('the order of checks', () => {
  const protectedOnes = operations.filter(({ authenticated }) => authenticated)

  test.each(table(protectedOnes))(
    '%s checks the token before anything else in the request',
    async (_, operation) => {
      const path = `${withId(operation.path)}?nope=1`
      const options =
        operation.method === 'GET'
          ? {}
          : { body: 'x'.repeat(70_000), headers: { 'Content-Type': 'text/plain' } }
      const none = await request(operation.method, path, options)
      expectProblem(none, 401)
      // RFC 6750 section 3.1: without a token the challenge has no error code.
      expect(none.headers.get('WWW-Authenticate')).toMatch(/^Bearer(?!.*error=)/)
      const bad = await request(operation.method, path, { ...options, token: 'a.b.c' })
      expectProblem(bad, 401)
      expect(bad.headers.get('WWW-Authenticate')).toMatch(/^Bearer .*error="invalid_token"/)
    },
  )

  test.each(table(protectedOnes))(
    '%s gets a 401 for any input with the token of an ended session',
    async (_, operation) => {
      const { username, password } = await client.anyUser()
      const headers = { 'Content-Type': 'application/json' }
      const inputs = [
        { query: '?nope=1' },
        ...(operation.path.includes('{') ? [{ id: 'abc' }] : []),
        ...(operation.mediaTypes.length > 0
          ? [
              { body: '{}', headers: { 'Content-Type': 'text/plain' } },
              { body: '{"title":', headers },
              { body: '{"nope":1}', headers },
              { body: ' '.repeat(70_000), headers },
            ]
          : []),
      ] as (RequestOptions & { query?: string; id?: string })[]
      for (const { query = '', id, ...options } of inputs) {
        // A session for each request, since the service may remember a refused token.
        const { token, refreshToken } = await client.logIn(username, password)
        await client.logOut(refreshToken)
        const path = withId(operation.path, id) + query
        const answer = await request(operation.method, path, { ...options, token })
        expectProblem(answer, 401)
        expect(answer.body.errors).toBeUndefined()
      }
    },
  )

  test.each(table(operations.filter(({ path }) => path.includes('{'))))(
    '%s checks input before visibility',
    async (_, operation) => {
      const { options } = await prepare(operation)
      const path = withId(operation.path, '999999999')
      expectProblem(await request(operation.method, `${path}?nope=1`, options), 400)
      expectProblem(await request(operation.method, path, options), 404)
    },
  )

  test.each(table(withBody))(
    '%s checks media type and size before body and parameters',
    async (_, operation) => {
      const { token } = await client.anyUser()
      const path = `${withId(operation.path, '0')}?nope=1`
      const plain = { body: '{', headers: { 'Content-Type': 'text/plain' } }
      expectProblem(await request(operation.method, path, { token, ...plain }), 415)
      const large = { body: '{'.repeat(70_000), headers: { 'Content-Type': 'application/json' } }
      expectProblem(await request(operation.method, path, { token, ...large }), 413)
    },
  )

  test('the rate limit is checked first, on an unknown path too', async () => {
    const small = createClient(inject('small'), newAddress())
    const askUntilRefused = async (): Promise<Answer> => {
      for (let asked = 0; asked < 10 * small.target.limits.anonymous.limit; asked++) {
        const answer = await small.request('GET', '/api/nothing/')
        if (answer.status === 429) return answer
        expect(answer.status).toBe(404)
      }
      throw new Error('never refused')
    }
    const refused = await askUntilRefused()
    expectProblem(refused, 429)
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0)
    expect(refused.headers.get('X-Request-Id')).toBeTruthy()
  })
})

describe('headers of every answer', () => {
  const requests: [string, () => Promise<Answer>][] = [
    ['/healthz', () => request('GET', '/healthz')],
    ['/readyz', () => request('GET', '/readyz')],
    ['/openapi.json', () => request('GET', '/openapi.json')],
    ['/api/rate-limit/', () => request('GET', '/api/rate-limit/')],
    ['a 401', () => request('GET', '/api/tasks/')],
    ['a 404', () => request('GET', '/nothing')],
    ['a 405', () => request('POST', '/healthz')],
    ['a 400', () => request('POST', '/api/register/', { json: {} })],
    ['a 415', () => request('POST', '/api/register/')],
  ]

  test.each(requests)('%s has the security headers and names no software', async (_, ask) => {
    const { headers } = await ask()
    expect(Object.fromEntries(headers)).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'content-security-policy': expect.stringMatching(/default-src 'none'.*frame-ancestors 'none'/),
      'cache-control': 'no-store',
    })
    const server = target.behindNginx ? 'nginx' : null
    expect([headers.get('X-Powered-By'), headers.get('Server')]).toEqual([null, server])
  })

  test.each(table(operations))('%s has rate-limit headers exactly below /api/', async (_, operation) => {
    for (const { headers } of [await send(operation), await send(operation, { query: '?nope' })]) {
      const told = ['RateLimit', 'RateLimit-Policy', 'X-RateLimit-Limit', 'X-RateLimit-Reset'].map((header) =>
        headers.has(header),
      )
      expect(new Set(told)).toEqual(new Set([operation.path.startsWith('/api/')]))
    }
  })

  test.each(table(operations))(
    '%s may be stored by a private cache only if it can be validated',
    async (_, operation) => {
      const { status, headers } = await send(operation)
      expect(status).toBeLessThan(300)
      const documented = operation.responses[status]?.headers ?? {}
      const expected = 'ETag' in documented || 'Cache-Status' in documented ? 'private, no-cache' : 'no-store'
      expect(headers.get('Cache-Control')).toBe(expected)
    },
  )
})

describe('browsers of other origins', () => {
  const { corsOrigin } = target
  const usual = 'authorization,content-type,if-match,traceparent,x-whatever'
  const preflight = (path: string, method: string, origin: string, requested = usual) =>
    request('OPTIONS', path, {
      headers: {
        Origin: origin,
        'Access-Control-Request-Method': method,
        'Access-Control-Request-Headers': requested,
      },
    })
  const list = (headers: Headers, header: string) =>
    (headers.get(header) ?? '').split(',').map((item) => item.trim().toLowerCase())

  test.each(table(operations))('a page of an allowed origin may call %s', async (_, { method, path }) => {
    const { status, headers } = await preflight(withId(path), method, corsOrigin)
    expect([200, 204]).toContain(status)
    expect(headers.get('Access-Control-Allow-Origin')).toBe(corsOrigin)
    expect(list(headers, 'Access-Control-Allow-Methods')).toContain(method.toLowerCase())
    expect(headers.get('X-Request-Id')).toBeTruthy()
    expect(headers.get('X-Content-Type-Options')).toBe('nosniff')
    expect(headers.get('Cache-Control')).toBe('no-store')
    expect(list(headers, 'Access-Control-Allow-Headers')).toEqual(
      expect.arrayContaining(['authorization', 'content-type', 'if-match', 'traceparent', 'x-whatever']),
    )
    expect(list(headers, 'Vary')).toContain('origin')
    expect(headers.has('Access-Control-Allow-Credentials')).toBe(false)
  })

  test('a preflight for many headers gets a short answer that allows them all', async () => {
    const requested = Array.from({ length: 400 }, (_, i) => `x-header-${i}`).join()
    const { status, headers } = await preflight('/api/tasks/', 'POST', corsOrigin, requested)
    expect([200, 204]).toContain(status)
    expect(list(headers, 'Access-Control-Allow-Headers')).toEqual(['*', 'authorization'])
    expect([...headers].flat().join(': ').length).toBeLessThan(3000)
  })

  const exposed = words(`
    etag location link idempotency-replayed ratelimit ratelimit-policy x-ratelimit-limit
    x-ratelimit-remaining x-ratelimit-reset retry-after www-authenticate cache-status x-request-id
  `)
  function expectReadable(answer: Answer) {
    expect(answer.headers.get('Access-Control-Allow-Origin')).toBe(corsOrigin)
    expect(list(answer.headers, 'Access-Control-Expose-Headers')).toEqual(expect.arrayContaining(exposed))
    expect(list(answer.headers, 'Vary')).toContain('origin')
  }

  test.each(table(operations))(
    'a page of an allowed origin may read the answers and errors of %s',
    async (_, operation) => {
      const headers = { Origin: corsOrigin }
      const answers = [
        await send(operation, { headers }),
        await send(operation, { headers, query: '?nope' }),
        await request(operation.method, withId(operation.path), { headers, token: 'nonsense' }),
      ]
      expect(answers[0]?.status).toBeLessThan(300)
      answers.forEach(expectReadable)
    },
  )

  test('a page of an allowed origin may read a 404, a 405 and a 413', async () => {
    const headers = { Origin: corsOrigin, 'Content-Type': 'application/json' }
    expectReadable(await request('GET', '/nothing', { headers }))
    expectReadable(await request('POST', '/healthz', { headers }))
    expectReadable(await request('POST', '/api/token/', { headers, body: ' '.repeat(70_000) }))
  })

  test('a page of an allowed origin may read a 429, and preflights are not limited', async () => {
    const small = createClient(inject('small'), newAddress())
    const headers = { Origin: small.target.corsOrigin }
    let answer: Answer | undefined
    for (let asked = 0; answer?.status !== 429 && asked < 10 * small.target.limits.anonymous.limit; asked++)
      answer = await small.request('GET', '/api/tasks/', { headers })
    expect(answer?.status).toBe(429)
    if (answer) expectReadable(answer)
    const asked = await small.request('OPTIONS', '/api/tasks/', {
      headers: { ...headers, 'Access-Control-Request-Method': 'POST' },
    })
    expect(asked.status).toBeLessThan(300)
    expect(asked.headers.get('Access-Control-Allow-Origin')).toBe(small.target.corsOrigin)
  })

  test.each([
    'https://evil.example',
    `${corsOrigin}.evil.example`,
    corsOrigin.replace('https', 'http'),
    `${corsOrigin}:8443`,
    corsOrigin.toUpperCase(),
    `${corsOrigin}/`,
    `${corsOrigin}, https://evil.example`,
    'null',
    '*',
  ])('a page of another origin may read nothing: %s', async (origin) => {
    const { token } = await client.anyUser()
    const answers = [
      await preflight('/api/tasks/', 'GET', origin),
      await request('GET', '/api/tasks/', { token, headers: { Origin: origin } }),
      await request('GET', '/api/tasks/', { headers: { Origin: origin } }),
    ]
    for (const { headers } of answers) {
      expect(headers.has('Access-Control-Allow-Origin')).toBe(false)
      expect(list(headers, 'Vary')).toContain('origin')
    }
  })

  test('an answer to a request without Origin varies by Origin', async () => {
    const { headers } = await request('GET', '/openapi.json')
    expect(headers.has('Access-Control-Allow-Origin')).toBe(false)
    expect(list(headers, 'Vary')).toContain('origin')
  })
})

describe('around the API', () => {
  test('/healthz answers that the process is alive', async () => {
    expect(await request('GET', '/healthz')).toMatchObject({ status: 200, body: { status: 'alive' } })
  })

  test('/readyz answers ready or degraded, and names only kinds of components', async () => {
    const { status, body } = await request('GET', '/readyz')
    expect(status).toBe(200)
    const { status: told, degraded = [], ...rest } = body
    expect(['ready', 'degraded']).toContain(told)
    for (const component of degraded) expect(['cache', 'notifier']).toContain(component)
    expect(rest).toEqual({})
  })

  describe('/docs', () => {
    /** As a browser resolves them behind a proxy that shows the service below a path. */
    const below = 'https://example.com/team'
    const assets = async () => {
      const { body } = await request('GET', '/docs')
      return [...body.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, url]) => {
        const { href } = new URL(url as string, `${below}/docs`)
        return href.startsWith(`${below}/`) ? href.slice(below.length) : href
      })
    }

    test('loads with all scripts and styles from this service', async () => {
      const page = await request('GET', '/docs')
      expect(page.status).toBe(200)
      expect(page.headers.get('Content-Type')).toBe('text/html; charset=utf-8')
      const files = (await assets()).filter((url) => !url.startsWith('data:'))
      const types: Record<string, RegExp> = { js: /^text\/javascript/, css: /^text\/css/ }
      expect(new Set(files.map((url) => url.split('.').at(-1)))).toEqual(new Set(['js', 'css']))
      for (const url of files) {
        expect(url).toMatch(/^\/docs\/[\w.-]+$/)
        const { status, headers, body } = await request('GET', url)
        expect(status).toBe(200)
        expect(headers.get('Content-Type')).toMatch(types[url.split('.').at(-1) ?? ''] ?? /^$/)
        expect(headers.get('X-Content-Type-Options')).toBe('nosniff')
        expect(body.length).toBeGreaterThan(100)
        // Style sheets and scripts load more by these.
        expect(body).not.toMatch(/@import|url\(["']?(?!["']?data:)[a-z]*:?\/\/|importScripts\(/)
      }
    })

    test('shows the document of this service', async () => {
      const scripts = (await assets()).filter((url) => url.endsWith('.js'))
      const texts = await Promise.all(scripts.map(async (url) => (await request('GET', url)).body as string))
      expect(texts.filter((text) => text.includes("url: 'openapi.json'"))).toHaveLength(1)
    })

    test('has a policy that allows only files of this service, and no inline script or style', async () => {
      for (const path of ['/docs', ...(await assets()).filter((url) => !url.startsWith('data:'))]) {
        const { headers } = await request('GET', path)
        const policy = headers.get('Content-Security-Policy') ?? ''
        const directives = policy.split(';').map((directive) => directive.trim().split(' '))
        const of = (name: string) => directives.find(([directive]) => directive === name)?.slice(1)
        expect(of('default-src')).toEqual(["'none'"])
        expect(of('script-src')).toEqual(["'self'"])
        expect(of('style-src')).toEqual(["'self'"])
        expect(of('connect-src')).toEqual(["'self'"])
        expect(of('frame-ancestors')).toEqual(["'none'"])
        for (const [, ...sources] of directives)
          for (const source of sources) expect(["'none'", "'self'", 'data:']).toContain(source)
      }
      const { body } = await request('GET', '/docs')
      expect(body).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:|https?:/i)
    })

    test('an absent file is a 404 that is not stored', async () => {
      const answer = await request('GET', '/docs/nothing.js')
      expectProblem(answer, 404)
      expect(answer.headers.get('Cache-Control')).toBe('no-store')
    })
  })
})
