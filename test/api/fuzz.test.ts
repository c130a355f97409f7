/**
 * Any input gets an answer that is documented. FUZZ_SEED and FUZZ_RUNS try other inputs; a failure prints the
 * shortest request that causes it, and how to repeat it.
 */
import { Agent, request as httpRequest } from 'node:http'
import fc from 'fast-check'
import { afterAll, describe, expect, inject, test } from 'vitest'
import { type Answer, createClient, newName, problemFaults, type User } from '../support/client.ts'
import { malformedDocuments } from '../support/corpora/json.ts'
import { blank, storable, unstorable } from '../support/corpora/naughty-strings.ts'
import {
  createPreparer,
  type DocumentedOperation,
  listOperations,
  membersOf,
  readDocument,
  table,
  withOwnValues,
} from '../support/operations.ts'
import { numRuns, seed } from '../support/property-runs.ts'
import { words } from '../support/words.ts'

const target = inject('wide')
const client = createClient(target)
const document = await readDocument(target)
const operations = listOperations(document)
const { fillPath } = createPreparer(client, operations)
const { hostname, port } = new URL(target.baseUrl)
const agent = new Agent({ keepAlive: true })
afterAll(() => agent.destroy())

type Sent = { method: string; path: string; headers: Record<string, string>; body?: string | Buffer }

/** Uses node:http, as fetch refuses to send most of these inputs. */
function send({ method, path, headers, body }: Sent): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      { hostname, port, agent, method, path, headers, timeout: 30_000 },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.on('error', reject)
        incoming.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          const answered = new Headers(
            Object.entries(incoming.headers).map(([key, value]) => [key, String(value)]),
          )
          const isJson = text !== '' && /json/.test(answered.get('Content-Type') ?? '')
          resolve({
            status: incoming.statusCode ?? 0,
            headers: answered,
            body: isJson ? JSON.parse(text) : text,
          })
        })
      },
    )
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in 30 seconds')))
    outgoing.on('error', reject)
    if (body !== undefined) outgoing.setHeader('Content-Length', Buffer.byteLength(body))
    outgoing.end(body)
  })
}

/**
 * Waits and sends again after a 503 with Retry-After: too many passwords are being checked, perhaps for other
 * tests.
 */
async function sendWithRetries(sent: Sent): Promise<Answer> {
  const deadline = Date.now() + 60_000
  for (;;) {
    const answer = await send(sent)
    const wait = answer.headers.get('Retry-After')
    if (answer.status !== 503 || wait === null || Date.now() > deadline) return answer
    await new Promise((resolve) => setTimeout(resolve, Number(wait) * 1000))
  }
}

/** Reasons why no request may get this answer. */
function faults(answer: Answer): string[] {
  const { status, headers, body } = answer
  return [
    ...(status < 200 || status >= 500 ? [`a ${status}: ${JSON.stringify(body)}`] : []),
    ...(status >= 400 ? problemFaults(answer) : []),
    ...(headers.get('X-Request-Id') ? [] : ['no X-Request-Id']),
    ...((status === 204 || status === 304) && body !== '' ? [`a ${status} with a body`] : []),
  ]
}

/* Text of every kind. Shown as JSON, so lone surrogates and control characters are readable. */

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom(...Object.values(storable).flat(), ...blank, ...unstorable),
  fc.integer({ min: 1, max: 20_000 }).map((length) => 'x'.repeat(length)),
  fc.integer({ min: 1, max: 10_001 }).map((length) => '😀'.repeat(length)),
)

const anyNumber = fc.constantFrom(
  ...words('0 -0 1 -1 1.5 1e2 1E400 -1e400 1e-400 2147483647 2147483648 4294967296'),
  ...words(`
    9007199254740991 9007199254740992 9223372036854775807 9223372036854775808 -9223372036854775809
  `),
  ...['123456789012345678901234567890', `1${'0'.repeat(400)}`, `0.${'3'.repeat(400)}`],
)

const nested = fc
  .tuple(fc.constantFrom('[]', '{"a":}'), fc.integer({ min: 1, max: 12_000 }))
  .map(([pair, depth]) =>
    pair === '[]' ? '['.repeat(depth) + ']'.repeat(depth) : `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`,
  )

const quote = (text: string) => JSON.stringify(text)
const objectText = (members: [string, string][]) =>
  `{${members.map(([key, value]) => `${quote(key)}:${value}`).join(',')}}`

/** JSON as text, since values would lose duplicate keys, very large numbers and `__proto__`. */
const { json: anyJson } = fc.letrec<{ json: string }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.oneof(anyText.map(quote), anyNumber, fc.constantFrom('null', 'true', 'false', '""', '[]', '{}')),
    fc.array(tie('json'), { maxLength: 4 }).map((items) => `[${items.join(',')}]`),
    fc.array(fc.tuple(anyText, tie('json')), { maxLength: 4 }).map(objectText),
    nested,
  ),
}))

/* Requests that are nearly valid, so that they get past the first check. */

/** Replaced by `fill` with values of the run. */
const placeholders = [
  '{parent}',
  '{token}',
  '{refresh}',
  '{user}',
  '{username}',
  '{new name}',
  '{id}',
  '{cursor}',
] as const
type Known = Record<(typeof placeholders)[number], string>
const fill = (text: string, known: Known) =>
  placeholders.reduce((filled, placeholder) => filled.replaceAll(placeholder, known[placeholder]), text)

/** Values that some member takes; most are invalid for the others. */
const plausible = fc.constantFrom(
  ...['"Buy milk"', '"pending"', '"completed"', 'null', '{user}', '{id}', '"{user}"', '999999999999999'],
  ...[
    ...'"{username}"|"correct horse"|"correct horse "|"new password"|"ann@example.com"'.split('|'),
    '"o\'hara~&/=+x@müller.de"',
    '"{refresh}"',
  ],
  ...['"2026-11-22T07:04:05.123Z"', '"a-new-name"', '"{token}"', '"x@y"', '" "', '"me"'],
)

const knownMembers = [...new Set(operations.flatMap((operation) => membersOf(document, operation)))]
const formMembers = operations
  .filter(({ mediaTypes }) => mediaTypes.includes('application/x-www-form-urlencoded'))
  .flatMap((operation) => membersOf(document, operation))

/** Bodies that succeed, as names and JSON with placeholders; mutations start from them. */
function validBodies(operation: DocumentedOperation): [name: string, json: string][][] {
  const user = {
    id: '{user}',
    username: '{username}',
    password: 'correct horse',
    refreshToken: '{refresh}',
  }
  const bodies = operation.examples.map((example) => withOwnValues(example, operation, user, '{new name}'))
  return bodies.map((body) =>
    Object.entries(body).map(([name, value]) => [name, JSON.stringify(value).replace('"{user}"', '{user}')]),
  )
}

const encodedText = anyText.map((text) => encodeURIComponent(text.toWellFormed()))
const latin1 = fc
  .array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff })), {
    maxLength: 60,
  })
  .map((codes) => String.fromCharCode(...codes).trim())

const brokenEncodings = words('% %0 %zz %00 %FF %C3%28 %ED%A0%80 %F0%9F%98%80 %2F %5C %u0000')
const oddEncodings = [...brokenEncodings, ..."+|%2B|%25|%0d%0a|'|%27%20or%20%271%27=%271|[]|;|,".split('|')]

function queryOf({ queryParameters }: DocumentedOperation) {
  const value = fc.oneof(
    fc.constantFrom(
      ...['', ...words('me none {user} pending completed title -title updated_at true 1 100')],
      ...['101', '0', '-1', '1e1', '999999999999999', '9'.repeat(40), '{cursor}', '{cursor}x', 'a.b', '.'],
      ...words(`
        2026-11-22 2026-02-30 0000-01-01 0001-01-01 9999-12-31 2026-11-22T07:04:05.123456789Z
      `),
      ...'0001-01-01T00:00:00%2B14:00|9999-12-31T23:59:59-14:59|2026-11-22T24:00:00Z'.split('|'),
      '2026-06-30T23:59:60Z',
      ...['+292278994-08-17', '275760-09-13', 'infinity', 'now', ...oddEncodings],
    ),
    encodedText.filter((text) => text.length < 9000),
  )
  const key = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.constantFrom(...queryParameters, ...(queryParameters.length ? [] : ['nope'])),
    },
    {
      weight: 1,
      arbitrary: fc.constantFrom('', '__proto__', 'constructor', 'limit[]', 'status.x', ...oddEncodings),
    },
  )
  const pair = fc.oneof(
    { weight: 8, arbitrary: fc.tuple(key, value).map(([name, of]) => `${name}=${of}`) },
    { weight: 1, arbitrary: key },
    { weight: 1, arbitrary: fc.constantFrom('&', '=', '==', '?', '??') },
  )
  const weight = queryParameters.length > 0 ? 8 : 1
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant('') },
    {
      weight,
      arbitrary: fc.array(pair, { minLength: 1, maxLength: 4 }).map((pairs) => `?${pairs.join('&')}`),
    },
  )
}

function bodyOf(operation: DocumentedOperation): fc.Arbitrary<string | Buffer | undefined> {
  const { mediaTypes } = operation
  const member = fc.tuple(
    fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...knownMembers) }, { weight: 1, arbitrary: anyText }),
    fc.oneof({ weight: 2, arbitrary: plausible }, { weight: 1, arbitrary: anyJson }),
  )
  const kept = (members: [string, string][]) => fc.constant(members)
  const perhapsChanged = ([key, value]: [string, string]) =>
    fc.oneof(
      { weight: 3, arbitrary: kept([[key, value]]) },
      { weight: 2, arbitrary: fc.oneof(plausible, anyJson).map((other) => [[key, other]]) },
      { weight: 1, arbitrary: kept([]) },
    ) as fc.Arbitrary<[string, string][]>
  /** Members of a valid body, each perhaps with another value, and some that may be duplicates. */
  const [plainest = [], ...others] = validBodies(operation)
  const mutated = fc
    .tuple(
      fc.oneof(...[plainest, ...others].map((body) => fc.tuple(...body.map(perhapsChanged)))),
      fc.oneof(kept([]), fc.array(member, { maxLength: 2 })),
    )
    .map(([members, more]) => objectText([...members.flat(), ...more]))
  const form = fc
    .array(fc.tuple(fc.constantFrom(...formMembers), fc.oneof(encodedText, fc.constantFrom(...oddEncodings))))
    .map((pairs) => pairs.map(([key, value]) => `${key}=${value}`).join('&'))
  const bytes = fc.uint8Array({ maxLength: 60 }).map((array) => Buffer.from(array))
  const broken = fc.tuple(mutated, fc.nat(), bytes).map(([text, at, inserted]) => {
    const whole = Buffer.from(text)
    const place = at % (whole.length + 1)
    return Buffer.concat([whole.subarray(0, place), inserted, whole.subarray(place)])
  })
  const none = { weight: mediaTypes.length > 0 ? 1 : 20, arbitrary: fc.constant(undefined) }
  return fc.oneof(
    none,
    { weight: 20, arbitrary: mutated },
    { weight: 4, arbitrary: anyJson },
    { weight: mediaTypes.includes('application/x-www-form-urlencoded') ? 8 : 1, arbitrary: form },
    { weight: 2, arbitrary: broken },
    { weight: 1, arbitrary: fc.constantFrom(...malformedDocuments) },
    { weight: 1, arbitrary: bytes },
  )
}

const mostly = (usual: string, other: fc.Arbitrary<string | undefined>, weight = 9) =>
  fc.oneof({ weight, arbitrary: fc.constant<string | undefined>(usual) }, { weight: 1, arbitrary: other })
const seldom = (arbitrary: fc.Arbitrary<string>) =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary })

const tags = fc.oneof(
  fc.constantFrom(
    ...[
      ...'*|"1"|W/"1"|"2"|"1", "2"'.split('|'),
      ...words('" "" """ "-1" "9999999999" "99999999999999999999"'),
    ],
    ...[
      ...'1|,|,,,"1",,|W/|*, "1"|"1'.split('|'),
      '"\u00ff"',
      '"0x1"',
      '"1e3"',
      Array(500).fill('"7"').join(),
    ],
  ),
  latin1,
)
const longText = fc.integer({ min: 200, max: 6000 }).map((length) => 'a'.repeat(length))

/** Every header that the service, its framework or a proxy in front of it may read. */
const headersOf = ({ mediaTypes }: DocumentedOperation) =>
  fc.record({
    Authorization: mostly(
      'Bearer {token}',
      fc.oneof(
        fc.constantFrom(
          ...[
            undefined,
            ...'|Bearer|Bearer |bearer {token}|BEARER  {token}|Bearer {token} x|{token}'.split('|'),
          ],
          ...'Bearer {token}x|Bearer {refresh}|Bearer a.b.c|Bearer ..|Bearer e30.e30.e30'.split('|'),
          'Bearer null',
          ...'Basic YWRtaW46YWRtaW4=|Basic|Digest username="a"'.split('|'),
          ...'Bearer {token}, Bearer {token}|Negotiate'.split('|'),
          // {"alg":"none"} and {"alg":"HS256"} with a claim of somebody else, unsigned.
          'Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.',
          'Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.AAAA',
        ),
        latin1.map((text) => `Bearer ${text}`),
        longText.map((text) => `Bearer ${text}`),
        latin1,
      ),
    ),
    'Content-Type': mostly(
      mediaTypes[0] ?? 'application/json',
      fc.oneof(
        fc.constantFrom(
          ...[
            undefined,
            ...'|application/json; charset=utf-8|application/json; charset=latin1'.split('|'),
            ...'text/plain|;'.split('|'),
          ],
          ...'application/x-www-form-urlencoded|application/merge-patch+json'.split('|'),
          ...'multipart/form-data|*/*'.split('|'),
          ...'multipart/form-data; boundary=|application/json;;;charset|APPLICATION/JSON'.split('|'),
          ...'a/b/c|json'.split('|'),
        ),
        latin1,
      ),
      4,
    ),
    'If-Match': seldom(tags),
    'If-None-Match': seldom(tags),
    'Idempotency-Key': seldom(
      fc.oneof(
        fc.constantFrom(
          ...'a|"a"|a b|'.split('|'),
          'a'.repeat(255),
          'a'.repeat(256),
          '\u00ff',
          '%00',
          '__proto__',
          "'",
        ),
        fc.nat({ max: 20 }).map(String),
        latin1,
      ),
    ),
    'X-Forwarded-For': seldom(
      fc.oneof(
        fc.constantFrom(
          ...['', ...words(', ,,, unknown _hidden 127.0.0.1 ::1 [::1]:80 ::ffff:1.2.3.4 fe80::1%eth0')],
          ...'1.2.3.4:5|1.2.3|999.1.1.1|0x7f.1|010.0.0.1|1.2.3.4, 5.6.7.8|::1, ::2'.split('|'),
          '2001:db8::/32',
        ),
        latin1,
        longText,
      ),
    ),
    'X-Request-Id': seldom(fc.oneof(latin1, longText, fc.constantFrom('', 'a', 'a b', '{}', '%0d%0a'))),
    Origin: seldom(
      fc.oneof(
        fc.constantFrom('', 'null', '*', target.corsOrigin, 'https://evil.example', 'file://'),
        latin1,
      ),
    ),
    'User-Agent': seldom(fc.oneof(latin1, longText, fc.constant(''))),
    'Content-Encoding': seldom(fc.constantFrom('gzip', 'identity', '', 'br', 'identity, gzip', '*')),
    Accept: seldom(fc.oneof(fc.constantFrom('text/html', 'image/*', '', 'a;q=2'), latin1)),
    'Accept-Encoding': seldom(fc.constantFrom('gzip', 'br;q=9', '*;q=0', '')),
    Range: seldom(fc.constantFrom('bytes=0-1', 'bytes=5-2', 'bytes=-', 'x')),
    'If-Modified-Since': seldom(fc.constantFrom('yesterday', 'Sun, 22 Nov 2026 07:04:05 GMT', '')),
    'If-Unmodified-Since': seldom(fc.constantFrom('yesterday', 'Thu, 01 Jan 1970 00:00:00 GMT', '')),
    Cookie: seldom(fc.oneof(latin1, fc.constantFrom('a=b; a=c', '=', 'token={token}'))),
    Forwarded: seldom(fc.constantFrom('for=1.2.3.4;host=evil.example', 'for="[', '')),
    'X-Forwarded-Host': seldom(fc.constantFrom('evil.example', '', '/')),
    'X-Forwarded-Proto': seldom(fc.constantFrom('https', 'javascript', '')),
    'X-HTTP-Method-Override': seldom(fc.constantFrom('DELETE', 'NONSENSE')),
    'Access-Control-Request-Method': seldom(fc.constantFrom('DELETE', '*', '')),
    Upgrade: seldom(fc.constantFrom('websocket', 'h2c', '')),
  })

/** One segment, which never turns the path into that of another operation. */
const idText = fc.oneof(
  { weight: 6, arbitrary: fc.constant('{id}') },
  {
    weight: 4,
    arbitrary: fc.oneof(
      fc
        .constantFrom(
          ...['0', '-1', '1', '01', '1.0', '1e3', '+1', '0x1', '999999999', '2147483648', '999999999999999'],
          ...[
            '9007199254740993',
            '9223372036854775808',
            '9'.repeat(300),
            ...words('null undefined NaN abc 1;2 1,2'),
          ],
          ...[...words('* {id}%00 {id}%20 %31 {id}x １ :id %7Bid%7D ... %0d%0a'), ...brokenEncodings],
        )
        .map((text) => text.replace('１', '%EF%BC%91')),
      encodedText.filter((text) => text !== '' && text.length < 9000 && !/^(\.|%2e){1,2}$/i.test(text)),
    ),
  },
)

/** Values of the placeholders, with a new member for each id of the path; of a new user if none is given. */
async function makeKnown(path: string, user?: User): Promise<{ user: User; known: Known }> {
  user ??= await client.register()
  await Promise.all([client.createTask(user.token), client.createTask(user.token)])
  const page = await client.request('GET', '/api/tasks/?limit=1', { token: user.token })
  const filled = await fillPath(path.replace(/(\{\w+\})[^{]*$/, '$1'), user)
  const [, parent = '', id = '1'] = /^(.*\/)(\d+)$/.exec(filled) ?? []
  const known = {
    '{token}': user.token,
    '{refresh}': user.refreshToken,
    '{user}': String(user.id),
    '{username}': user.username,
    '{new name}': newName(),
    '{parent}': parent,
    '{id}': id,
    '{cursor}': new URLSearchParams(page.body.next.split('?')[1]).get('cursor') ?? '',
  }
  return { user, known }
}

const withoutUndefined = (headers: Record<string, string | undefined>) =>
  Object.fromEntries(
    Object.entries(headers).filter((entry): entry is [string, string] => entry[1] !== undefined),
  )

describe(`FUZZ_SEED=${seed} FUZZ_RUNS=${numRuns}`, () => {
  test.concurrent.each(table(operations))('%s', async (_, operation) => {
    let { user, known } = await makeKnown(operation.path)
    const seen = new Map<number, number>()
    const input = fc.record({
      id: operation.path.includes('{') ? idText : fc.constant(''),
      slash: mostly('/', fc.constant('')),
      query: queryOf(operation),
      headers: headersOf(operation),
      body: bodyOf(operation),
    })
    const property = fc.asyncProperty(input, async ({ id, slash, query, headers, body }) => {
      // Only the last id is fuzzed.
      const path = operation.path.replace(/^.*\{\w+\}/, () => `{parent}${id}`)
      const sent = fill(JSON.stringify({ path: path.replace(/\/$/, slash ?? '') + query, headers }), known)
      const { path: filledPath, headers: filledHeaders } = JSON.parse(sent)
      const answer = await sendWithRetries({
        method: operation.method,
        path: filledPath,
        headers: { [target.addressHeader]: client.address, ...withoutUndefined(filledHeaders) },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? fill(body, known) : body }),
      })
      seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1)
      known['{new name}'] = newName()
      if (answer.status === 204 || (answer.status === 401 && operation.authenticated)) {
        // The member, the session or the account may be gone; the next run needs another.
        const me = await client.request('GET', '/api/users/me/', { token: user.token })
        const isGone = answer.status === 204 || me.status === 401
        if (isGone) ({ user, known } = await makeKnown(operation.path, me.status === 200 ? user : undefined))
      }
      expect(faults(answer)).toEqual([])
      // A head that is too large is refused before the operation is known.
      const tooLarge = sent.length > 8000 ? ['431'] : []
      expect([...Object.keys(operation.responses), ...tooLarge]).toContain(String(answer.status))
    })
    await fc.assert(property, { seed, numRuns, verbose: 0 })
    // Some inputs have to get past all checks.
    expect([...seen].filter(([status]) => status < 300)).not.toEqual([])
  })

  test.concurrent('any path, with any method', async () => {
    const { known } = await makeKnown('/api/tasks/{id}/')
    const segment = fc.oneof(
      fc.constantFrom(
        ...words(`
          api tasks users me token refresh register sessions docs healthz openapi.json
        `),
        ...['', ...words('. .. %2e%2e %2e ..; ... * :id {id} API swagger-ui.css reference.js')],
        ...oddEncodings,
      ),
      encodedText.filter((text) => text.length < 5000),
      latin1.map((text) => text.replace(/[ ?#\\]/g, '')),
    )
    const input = fc.record({
      method: fc.constantFrom(...words('GET HEAD POST PUT PATCH DELETE OPTIONS PROPFIND TRACE PURGE')),
      path: fc.array(segment, { maxLength: 5 }).map((segments) => `/${segments.join('/')}`),
      query: fc.oneof(fc.constant(''), fc.constantFrom('?', '?nope', '?limit=%zz', '?#', '??', '?/../..')),
      authorized: fc.boolean(),
    })
    const property = fc.asyncProperty(input, async ({ method, path, query, authorized }) => {
      // An invalid path is answered before the method is known, with a body.
      const isPath = /^[\x21-\x7e]*$/.test(path)
      const answer = await sendWithRetries({
        method: isPath ? method : 'GET',
        path: fill(path + query, known),
        headers: {
          [target.addressHeader]: client.address,
          ...(authorized ? { Authorization: `Bearer ${known['{token}']}` } : {}),
        },
      })
      // An answer to HEAD has no body, so it is no problem document.
      if (method !== 'HEAD') expect(faults(answer)).toEqual([])
      else expect(answer.status).toBeLessThan(500)
      expect(answer.headers.get('X-Request-Id')).toBeTruthy()
    })
    await fc.assert(property, { seed, numRuns: 3 * numRuns })
  })
})
