/**
 * Invalid and ambiguous HTTP requests on a plain connection get a problem document or the end of the
 * connection, and no later bytes are read as another request.
 */
import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, problemFaults } from '../support/client.ts'
import { numRuns, seed } from '../support/property-runs.ts'
import { words } from '../support/words.ts'

const target = inject('wide')
const client = createClient(target)
const { hostname, port } = new URL(target.baseUrl)
const hangsAfterMs = 30_000

afterEach(async () => {
  expect((await client.request('GET', '/healthz')).status).toBe(200)
})

/**
 * Sends the bytes, one a character, and resolves with the received text once the service has closed the
 * connection. `end` closes the client's half at once, `quietMs` after this long without an answer.
 */
function exchange(bytes: string, { end = false, quietMs }: { end?: boolean; quietMs?: number } = {}) {
  return new Promise<string>((resolve, reject) => {
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
    const received: Buffer[] = []
    const text = () => Buffer.concat(received).toString('latin1')
    const hang = setTimeout(() => {
      socket.destroy()
      reject(new Error(`neither answered nor closed, after ${JSON.stringify(text())}`))
    }, hangsAfterMs)
    const quiet = quietMs === undefined ? undefined : setTimeout(() => socket.end(), quietMs)
    socket.on('data', (chunk) => {
      received.push(chunk)
      quiet?.refresh()
    })
    socket.on('end', () => socket.end())
    // A reset closes the connection too.
    socket.on('error', () => {})
    socket.on('close', () => {
      clearTimeout(hang)
      clearTimeout(quiet)
      resolve(text())
    })
    socket.write(bytes, 'latin1')
    if (end) socket.end()
  })
}

/** Parses answers, none of which is to HEAD. Throws on any other text. */
function readAnswers(text: string): Answer[] {
  if (text === '') return []
  const [, head = '', status = ''] =
    /^(HTTP\/1\.1 (\d{3}) [^\r\n]*\r\n(?:[^\r\n]+\r\n)*)\r\n/.exec(text) ?? []
  if (head === '') throw new Error(`this is no answer: ${JSON.stringify(text.slice(0, 300))}`)
  const fields = head
    .split('\r\n')
    .slice(1, -1)
    .map((line): [string, string] => [
      line.slice(0, line.indexOf(':')),
      line.slice(line.indexOf(':') + 1).trim(),
    ])
  const headers = new Headers(fields)
  const start = head.length + 2
  if (status === '100') return readAnswers(text.slice(start))
  const chunked = headers.get('Transfer-Encoding') === 'chunked'
  const [body, end] = chunked ? readChunks(text, start) : readLength(text, start, headers)
  const isJson = body !== '' && /json/.test(headers.get('Content-Type') ?? '')
  return [
    { status: Number(status), headers, body: isJson ? JSON.parse(body) : body },
    ...readAnswers(text.slice(end)),
  ]
}

function readLength(text: string, start: number, headers: Headers): [string, number] {
  const end = start + Number(headers.get('Content-Length') ?? 0)
  return [text.slice(start, end), end]
}

function readChunks(text: string, start: number): [string, number] {
  let body = ''
  for (let at = start; ; ) {
    const lineEnd = text.indexOf('\r\n', at)
    const size = Number.parseInt(text.slice(at, lineEnd), 16)
    if (lineEnd < 0 || Number.isNaN(size)) throw new Error('a chunk without its size')
    if (size === 0) return [body, lineEnd + 4]
    body += text.slice(lineEnd + 2, lineEnd + 2 + size)
    at = lineEnd + 2 + size + 2
  }
}

/** Reasons why no request may get these answers. */
const faultsOf = (answers: Answer[]) =>
  answers.flatMap((answer) => [
    // A transfer coding that is not known is a 501 (RFC 9112 section 6.1).
    ...(answer.status >= 500 && answer.status !== 501
      ? [`a ${answer.status}: ${JSON.stringify(answer.body)}`]
      : []),
    ...(answer.status >= 400 ? problemFaults(answer) : []),
    ...(answer.headers.get('X-Request-Id') ? [] : [`a ${answer.status} without X-Request-Id`]),
  ])

const statuses = (answers: Answer[]) => answers.map(({ status }) => status)

const hosted = 'Host: localhost\r\n'
const close = `${hosted}Connection: close\r\n`
const get = (path: string, headers = close) => `GET ${path} HTTP/1.1\r\n${headers}\r\n`
const health = get('/healthz')
/** A request to an operation that reads its body without authentication. */
const post = (headers: string, body: string) =>
  `POST /api/token/ HTTP/1.1\r\n${close}Content-Type: application/json\r\n${headers}\r\n${body}`

test.each<[string, string]>([
  ['nonsense', 'NONSENSE\r\n\r\n'],
  ['no version', 'GET /healthz\r\n\r\n'],
  ['an unknown version', `GET /healthz HTTP/9.9\r\n${close}\r\n`],
  ['no target', `GET HTTP/1.1\r\n${close}\r\n`],
  ['an unknown method', `FOO /healthz HTTP/1.1\r\n${close}\r\n`],
  ['a method in lower case', `get /healthz HTTP/1.1\r\n${close}\r\n`],
  ['a method that is no token', `G(T /healthz HTTP/1.1\r\n${close}\r\n`],
  ['lines that end in a line feed alone', 'GET /healthz HTTP/1.1\nHost: localhost\n\n'],
  ['another protocol', 'HELO localhost\r\n\r\n'],
  ['a TLS handshake', '\x16\x03\x01\x00\xc2\x01\x00\x00\xbe\x03\x03'.padEnd(200, '\x07')],
  ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['a binary zero in the path', get('/health\0z')],
  ['control characters in the path', get('/health\x01z')],
  ['a tab in the path', get('/health\tz')],
  ['a binary zero in a header', get('/healthz', `${close}X-A: a\0b\r\n`)],
  ['a carriage return in a header', get('/healthz', `${close}X-A: a\rb\r\n`)],
  ['a control character in a header', get('/healthz', `${close}X-A: a\x07b\r\n`)],
  ['a header without a name', get('/healthz', `${close}: a\r\n`)],
  ['a header without a colon', get('/healthz', `${close}nonsense\r\n`)],
  ['a space in the name of a header', get('/healthz', `${close}X A: b\r\n`)],
  ['a space before the colon', get('/healthz', `${close}X-A : b\r\n`)],
  ['a header that goes on in the next line', get('/healthz', `${close}X-A: a\r\n b\r\n`)],
  ['a space before the first header', get('/healthz', ` X-A: a\r\n${close}`)],
  ['no Host', get('/healthz', 'Connection: close\r\n')],
  ['two Hosts', get('/healthz', `Host: a.example\r\nHost: b.example\r\nConnection: close\r\n`)],
  ['a length that is a word', post('Content-Length: two\r\n', '{}')],
  ['a length that is negative', post('Content-Length: -2\r\n', '{}')],
  ['a length with a sign', post('Content-Length: +2\r\n', '{}')],
  ['a length in hexadecimal', post('Content-Length: 0x2\r\n', '{}')],
  ['a length with a fraction', post('Content-Length: 2.0\r\n', '{}')],
  ['an empty length', post('Content-Length:\r\n', '{}')],
  ['a length that no integer holds', post('Content-Length: 99999999999999999999999\r\n', '{}')],
  ['two lengths', post('Content-Length: 2\r\nContent-Length: 3\r\n', '{}')],
  ['the same length twice', post('Content-Length: 2\r\nContent-Length: 2\r\n', '{}')],
  ['a list of lengths', post('Content-Length: 2, 2\r\n', '{}')],
  ['a length and chunks', post('Content-Length: 6\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\nG')],
  ['chunks and a length', post('Transfer-Encoding: chunked\r\nContent-Length: 6\r\n', '0\r\n\r\nG')],
  ['an empty transfer encoding', post('Transfer-Encoding:\r\n', '0\r\n\r\n')],
  ['a transfer encoding that is no token', post('Transfer-Encoding: (, chunked\r\n', '0\r\n\r\n')],
  ['chunks in chunks', post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n')],
  ['chunks that are not the last encoding', post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n')],
  [
    'chunks, and in another line something else',
    post('Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n', '0\r\n\r\n'),
  ],
  ['identity as an encoding', post('Transfer-Encoding: identity\r\nContent-Length: 2\r\n', '{}')],
  ['a space before the colon of an encoding', post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n')],
  ['a chunk whose size is nonsense', post('Transfer-Encoding: chunked\r\n', 'zz\r\n{}\r\n0\r\n\r\n')],
  ['a chunk whose size is negative', post('Transfer-Encoding: chunked\r\n', '-2\r\n{}\r\n0\r\n\r\n')],
  ['a chunk whose size is empty', post('Transfer-Encoding: chunked\r\n', '\r\n{}\r\n0\r\n\r\n')],
  ['a chunk whose size no integer holds', post('Transfer-Encoding: chunked\r\n', 'FFFFFFFFFFFFFFFFFF\r\n{}')],
  [
    'a chunk that is longer than its size',
    post('Transfer-Encoding: chunked\r\n', '2\r\n{"a":1}\r\n0\r\n\r\n'),
  ],
  ['a second chunk that is nonsense', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\nzz\r\n')],
  ['a chunk with an endless extension', post('Transfer-Encoding: chunked\r\n', `2;${'a'.repeat(50_000)}`)],
])('%s is a 400, and the end of the connection', async (_, bytes) => {
  const answers = readAnswers(await exchange(bytes))
  expect(statuses(answers)).toEqual([400])
  expect(faultsOf(answers)).toEqual([])
  expect(answers[0]?.headers.get('Connection')).toBe('close')
})

test.each<[string, string]>([
  ['a header', get('/healthz', `${close}X-A: ${'a'.repeat(100_000)}\r\n`)],
  ['the name of a header', get('/healthz', `${close}${'A'.repeat(100_000)}: a\r\n`)],
  ['all headers together', get('/healthz', close + 'X-A: 12345678901234567890\r\n'.repeat(3000))],
  ['the path', get(`/${'a'.repeat(100_000)}`)],
  ['the query', get(`/healthz?${'a'.repeat(100_000)}`)],
])('%s too large is a 431, and the end of the connection', async (_, bytes) => {
  const answers = readAnswers(await exchange(bytes))
  expect(statuses(answers)).toEqual([431])
  expect(faultsOf(answers)).toEqual([])
})

test('no header is dropped for being the last of many', async () => {
  const id = 'the-last-of-many'
  const answers = readAnswers(
    await exchange(get('/healthz', `${close}${'a:\r\n'.repeat(2500)}X-Request-Id: ${id}\r\n`)),
  )
  const [answer] = answers
  expect(answers).toHaveLength(1)
  expect([answer?.status, answer?.headers.get('X-Request-Id')]).toSatisfy(
    ([status, kept]) => status === 431 || (status === 200 && kept === id),
  )
})

test.each([
  ...'xchunked|gzip|gzip, chunked|GZIP , Chunked|deflate, gzip, chunked'.split('|'),
  'identity, chunked',
  'gzip\r\nTransfer-Encoding: chunked',
])('Transfer-Encoding: %s is a 501, and the end of the connection', async (codings) => {
  const answers = readAnswers(await exchange(post(`Transfer-Encoding: ${codings}\r\n`, '0\r\n\r\n')))
  expect(statuses(answers)).toEqual([501])
  expect(faultsOf(answers)).toEqual([])
  expect(answers[0]?.headers.get('Connection')).toBe('close')
})

test.each<[string, string, number]>([
  ['a path', 'GET /healthz', 200],
  ['a path in another case', 'GET /HEALTHZ', 404],
  ['a whole URL', 'GET http://localhost/healthz', 200],
  ['a whole URL with its scheme in capitals', 'GET HTTP://localhost/healthz', 200],
  ['a whole URL of https', 'GET hTTps://localhost/healthz', 200],
  ['a whole URL of another host', 'GET http://evil.example:8080/healthz', 200],
  ['a whole URL with an address', 'GET http://[::1]:80/healthz', 200],
  ['a whole URL with a query', 'GET http://localhost/api/tasks/?limit=1', 401],
  ['a whole URL with a query right after the host', 'GET http://localhost?a=b', 404],
  ['a whole URL without a path', 'GET http://localhost', 404],
  ['a whole URL without a host', 'GET http:///healthz', 400],
  ['a whole URL with a user name', 'GET http://ann@localhost/healthz', 400],
  ['a whole URL with a password', 'GET http://ann:secret@localhost/healthz', 400],
  ['a whole URL with a port that is none', 'GET http://localhost:99999/healthz', 400],
  ['a URL of another scheme', 'GET file:///etc/passwd', 400],
  ['a URL of another scheme with a host', 'GET ftp://localhost/healthz', 400],
  ['the authority', 'GET localhost:80', 400],
  ['an asterisk', 'GET *', 400],
  ['an asterisk with a body to come', 'POST *', 400],
  ['an asterisk and more', 'OPTIONS *x', 400],
  ['a path that begins with no slash', 'GET healthz', 400],
  ['a backslash in the path', 'GET /api\\tasks', 400],
  ['a backslash that climbs', 'GET /docs/..\\..\\api.js', 400],
  ['a fragment', 'GET /healthz#a', 400],
  ['a fragment of a whole URL', 'GET http://localhost/healthz#a', 400],
  ['CONNECT', 'CONNECT localhost:80', 405],
  ['CONNECT to an address', 'CONNECT [::1]:443', 405],
  ['TRACE', 'TRACE /healthz', 405],
])('%s as target: %s is a %i', async (_, line, status) => {
  const answers = readAnswers(await exchange(`${line} HTTP/1.1\r\n${close}\r\n`))
  expect(faultsOf(answers)).toEqual([])
  expect(statuses(answers)).toEqual([status])
})

test.each(['OPTIONS *', 'OPTIONS http://localhost/healthz'])('%s is a 204 with Allow', async (line) => {
  const [answer] = readAnswers(await exchange(`${line} HTTP/1.1\r\n${close}\r\n`))
  expect(answer?.status).toBe(204)
  expect(answer?.headers.get('Allow')).toMatch(/\bGET\b/)
  expect(answer?.headers.get('X-Request-Id')).toMatch(/./)
})

test.each([
  ['the path', '/api/tasks/é', 'binary'],
  ['the query', '/api/tasks/?search=é', 'binary'],
  ['the query, in Latin-1', '/api/tasks/?search=é', 'latin1'],
])('text that is not percent-encoded in %s is a 400 that names the fault', async (_, path, encoding) => {
  const target = encoding === 'binary' ? Buffer.from(path).toString('latin1') : path
  const answers = readAnswers(await exchange(get(target)))
  expect(statuses(answers)).toEqual([400])
  expect(answers[0]?.body.detail).toMatch(/percent-encode/)
})

test('an unknown expectation is a 417', async () => {
  const answers = readAnswers(await exchange(get('/healthz', `${close}Expect: nonsense\r\n`)))
  expect([statuses(answers), faultsOf(answers)]).toEqual([[417], []])
})

test.each<[string, string, number]>([
  ['two slashes at the beginning', '//healthz', 404],
  ['an authority after them', '//evil.example/healthz', 404],
  ['an encoded binary zero', '/healthz%00', 404],
  ['a broken percent', '/healthz%', 404],
  ['a path up from the root', '/../../../../etc/passwd', 404],
  ['the same, encoded', '/docs/%2e%2e/%2e%2e/package.json', 404],
  ['the same with encoded slashes', '/docs/..%2f..%2f..%2fpackage.json', 404],
  ['the same with encoded backslashes', '/docs/..%5c..%5c..%5cpackage.json', 404],
  ['the same, encoded twice', '/docs/%252e%252e%252fpackage.json', 404],
  // RFC 3986 section 5.2.4: dots are resolved, before the path is looked at.
  ['a path that comes back', '/api/../healthz', 200],
  ['a path that comes back behind a protected one', '/api/tasks/../../healthz', 200],
  ['a path that comes back to a protected one', '/healthz/../api/tasks/', 401],
])('%s in the target: %s is a %i', async (_, path, status) => {
  const answers = readAnswers(await exchange(get(path)))
  expect(faultsOf(answers)).toEqual([])
  expect(statuses(answers)).toEqual([status])
})

test('HTTP/1.0 needs no Host', async () => {
  const answers = readAnswers(await exchange('GET /healthz HTTP/1.0\r\n\r\n'))
  expect(statuses(answers)).toEqual([200])
})

describe('Host', () => {
  const valid = [
    ...words(`
      localhost LOCALHOST evil.example evil.example. evil.example:80 evil.example: evil.example:0
      evil.example:65535 :80 1.2.3.4 1.2.3 0x7f.1 [::1] [::1]:80 [::ffff:1.2.3.4] [2001:DB8::1]
      xn--a xn--bcher-kva.example a_b a..b - * a,b
    `),
    '',
    `${'a'.repeat(64)}.example`,
    'a'.repeat(300),
  ]
  const invalid = [
    ...words(`
      evil.example:65536 evil.example:99999999999999999999 evil.example:b evil.example:80:80
      evil.example:+80 [::1 [] [1.2.3.4] [::g] [::1%25eth0] [::1]80 ::1 a/b / a?b a#b ann@localhost
      ann:secret@localhost http://localhost a%00b a%41b % <> "localhost" {a}
    `),
    'a b',
    'a\tb',
    'a\\b',
    'b\u00fccher.example',
    'localhost, evil.example:80',
  ]
  const hosts = [...valid.map((host) => [host, 200] as const), ...invalid.map((host) => [host, 400] as const)]
  test.each(hosts)('%s is a %i', async (value, status) => {
    const text = await exchange(get('/healthz', `Host: ${value}\r\nConnection: close\r\n`))
    const answers = readAnswers(text)
    expect(faultsOf(answers)).toEqual([])
    expect(statuses(answers)).toEqual([status])
  })

  test('with any text is answered', async () => {
    const host = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    })
    const property = fc.asyncProperty(host, async (value) => {
      const answers = readAnswers(await exchange(get('/healthz', `Host: ${value}\r\nConnection: close\r\n`)))
      expect(faultsOf(answers)).toEqual([])
      expect([200, 400]).toContain(answers[0]?.status)
      expect(answers).toHaveLength(1)
    })
    await fc.assert(property, { seed, numRuns })
  })

  test('does not appear in answers', async () => {
    const { token } = await client.register()
    await Promise.all([client.createTask(token), client.createTask(token)])
    const from = (target: string, more = '') =>
      `${target} HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n${more}` +
      `Authorization: Bearer ${token}\r\nConnection: close\r\n`
    const json = 'Content-Type: application/json\r\nContent-Length: 13\r\n'
    const texts = await Promise.all([
      exchange(`${from('POST /api/tasks/', json)}\r\n{"title":"a"}`),
      exchange(`${from('GET /api/tasks/?limit=1')}\r\n`),
      exchange(`${from('GET http://evil.example/api/tasks/?limit=1')}\r\n`),
    ])
    expect(texts.flatMap(readAnswers).map(({ status }) => status)).toEqual([201, 200, 200])
    for (const text of texts) expect(text).not.toContain('evil')
  })
})

describe('several requests on a connection', () => {
  test('are answered in their order', async () => {
    const answers = readAnswers(
      await exchange(get('/healthz', hosted) + get('/nothing', hosted) + get('/api/tasks/', hosted) + health),
    )
    expect(statuses(answers)).toEqual([200, 404, 401, 200])
    expect(faultsOf(answers)).toEqual([])
  })

  const smuggled = get('/smuggled', hosted)
  const inside = (size: number) => smuggled.repeat(Math.ceil(size / smuggled.length))
  const json = 'Content-Type: application/json\r\n'
  const withLength = (target: string, headers: string, body: string) =>
    `${target} HTTP/1.1\r\n${hosted}${headers}Content-Length: ${body.length}\r\n\r\n${body}`
  const inChunks = (target: string, headers: string, body: string) =>
    `${target} HTTP/1.1\r\n${hosted}${headers}Transfer-Encoding: chunked\r\n\r\n` +
    `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`

  // An unread body must not be read as the next request.
  test.each<[string, string, string, number, number]>([
    ['of a 404', 'POST /nothing', json, 100, 404],
    ['of a large 404', 'POST /nothing', json, 200_000, 404],
    ['of a 405', 'DELETE /api/register/', json, 100, 405],
    ['of a 401', 'POST /api/tasks/', json, 200_000, 401],
    ['of a 415', 'POST /api/token/', '', 200_000, 415],
    ['of a 413', 'POST /api/token/', json, 200_000, 413],
    ['of a 400', 'POST /api/token/', json, 1000, 400],
    ['of a GET', 'GET /healthz', json, 100, 200],
    ['of a large GET', 'GET /healthz', json, 200_000, 200],
  ])('are not read from the body %s', async (_, line, headers, size, status) => {
    for (const write of [withLength, inChunks]) {
      const answers = readAnswers(await exchange(write(line, headers, inside(size)) + health))
      // Closing the connection is allowed too.
      expect([[status], [status, 200]]).toContainEqual(statuses(answers))
      expect(faultsOf(answers)).toEqual([])
    }
  })

  test('are answered before a malformed one', async () => {
    const answers = readAnswers(await exchange(`${get('/healthz', hosted)}NONSENSE\r\n\r\n`))
    expect(faultsOf(answers)).toEqual([])
    // The connection may be closed without an answer. A 400 first would answer the valid request.
    expect([[], [200], [200, 400]]).toContainEqual(statuses(answers))
  })

  test('a malformed request does not put its answer into an earlier one', async () => {
    const path = '/docs/swagger-ui-bundle.js'
    const { body } = await client.request('GET', path)
    const received = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port) })
      const chunks: Buffer[] = []
      socket.setTimeout(hangsAfterMs, () => socket.destroy(new Error('neither answered nor closed')))
      socket.once('data', () => socket.write('NONSENSE\r\n\r\n'))
      socket.on('data', (chunk) => chunks.push(chunk))
      socket.on('error', (error: NodeJS.ErrnoException) => error.code !== 'ECONNRESET' && reject(error))
      socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
      socket.write(get(path, hosted))
    })
    const whole = Buffer.from(body).toString('latin1')
    const begun = received.slice(received.indexOf('\r\n\r\n') + 4)
    expect(begun.length).toBeGreaterThan(0)
    // The beginning of the file, or all of it, perhaps with a 400 after it.
    expect(begun.slice(0, whole.length) === whole.slice(0, begun.length)).toBe(true)
  })
})

test('a body of 8 MiB is answered with 413 before the connection closes', async () => {
  const { token } = await client.register()
  const body = ' '.repeat(8 * 1024 * 1024)
  const headers = { 'Content-Type': 'application/json' }
  for (let round = 0; round < 10; round++) {
    const answer = await client.request('POST', '/api/tasks/', { token, body, headers })
    expect([answer.status, problemFaults(answer)]).toEqual([413, []])
  }
})

describe('incomplete requests', () => {
  const halves: [string, string][] = [
    ['nothing', ''],
    ['empty lines', '\r\n\r\n'],
    ['half a request line', 'GET /heal'],
    ['half of the headers', 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-'],
    ['headers without an end', `GET /healthz HTTP/1.1\r\n${hosted}`],
    ['half a body', post('Content-Length: 1000\r\n', '{"username":"a"')],
    ['half a body in chunks', post('Transfer-Encoding: chunked\r\n', '5\r\n{"use')],
    ['chunks without the last', post('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n')],
  ]

  test.each(halves)('a connection that ends after %s gets a 400 or no answer', async (_, bytes) => {
    const answers = readAnswers(await exchange(bytes, { end: true }))
    expect([[], [400]]).toContainEqual(statuses(answers))
    expect(faultsOf(answers)).toEqual([])
  })

  test('200 connections with half a request do not delay other clients', async () => {
    const opened = await Promise.all(
      Array.from(
        { length: 200 },
        (_, index) =>
          new Promise<Socket>((resolve, reject) => {
            const socket = connect({ host: hostname, port: Number(port) }, () => {
              socket.write(halves[index % halves.length]?.[1] ?? '')
              resolve(socket)
            })
            socket.on('error', reject)
          }),
      ),
    )
    const { token } = await client.register()
    await client.createTask(token)
    const open = opened.filter((socket) => !socket.destroyed)
    for (const socket of opened) socket.destroy()
    expect(open).toHaveLength(200)
  })
})

test(`a randomly changed request is answered or refused (FUZZ_SEED=${seed} FUZZ_RUNS=${numRuns})`, async () => {
  const originals = [
    get('/healthz', hosted),
    get('/api/tasks/?limit=1&search=a', `${hosted}Authorization: Bearer a.b.c\r\nIf-None-Match: "1"\r\n`),
    post('Content-Length: 35\r\n', '{"username":"ann","password":"abc"}'),
    post(
      'Transfer-Encoding: chunked\r\n',
      '11\r\n{"username":"ann"\r\n12\r\n,"password":"abc"}\r\n0\r\n\r\n',
    ),
  ]
  const piece = fc.oneof(
    fc.constantFrom(
      ...[
        '\0',
        '\r',
        '\n',
        '\r\n',
        '\r\n\r\n',
        ' ',
        '\t',
        ':',
        '\x7f',
        '\xff',
        '%',
        '\\',
        ...'//|/../|#|?|"'.split('|'),
      ],
      ...[
        'Content-Length: 5\r\n',
        'Content-Length: 0\r\n',
        'Transfer-Encoding: chunked\r\n',
        'Host: b\r\n',
        'HTTP/1.1',
      ],
      ...[
        'Expect: 100-continue\r\n',
        'Connection: upgrade\r\nUpgrade: h2c\r\n',
        'Trailer: a\r\n',
        '0\r\n\r\n',
        'GET / ',
      ],
      ...['a'.repeat(20_000), 'A: b\r\n'.repeat(500), '\xc3\x28', '-1', 'ffffffff'],
    ),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
  )
  const edit = fc.record({
    at: fc.integer({ min: 0, max: 999 }),
    removed: fc.nat({ max: 5 }),
    piece,
  })
  const changed = fc
    .tuple(fc.constantFrom(...originals), fc.array(edit, { minLength: 1, maxLength: 3 }))
    .map(([original, edits]) =>
      edits.reduce((text, { at, removed, piece }) => {
        const place = Math.floor((at / 1000) * text.length)
        return text.slice(0, place) + piece + text.slice(place + removed)
      }, original),
    )
  // Ten at a time, as many of them wait for more bytes.
  const property = fc.asyncProperty(fc.array(changed, { minLength: 1, maxLength: 10 }), async (requests) => {
    const texts = await Promise.all(requests.map((bytes) => exchange(bytes, { quietMs: 100 })))
    for (const text of texts) expect(faultsOf(readAnswers(text))).toEqual([])
  })
  await fc.assert(property, { seed, numRuns: Math.ceil(numRuns / 5) })
})
