import { AwsV4Signer } from 'aws4fetch'
import { expect, test } from 'vitest'
import { ServiceError } from '../../workers/lambda/service-error.ts'
import { verifySignature } from '../../workers/lambda/sigv4.ts'

const credentials = { accessKeyId: 'AKEXAMPLE', secretAccessKey: 'secret' }
const url =
  'http://127.0.0.1:3001/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3An/invocations?Qualifier=a%20b'
const datetime = '20261122T070405Z'
const now = Date.parse('2026-11-22T07:04:05Z')
const payload = '{"a":1}'
const bytes = (text: string) => new TextEncoder().encode(text)

type Overrides = Partial<ConstructorParameters<typeof AwsV4Signer>[0]>

async function sign(overrides: Overrides = {}) {
  const signer = new AwsV4Signer({
    method: 'POST',
    url,
    headers: { 'content-type': 'application/json', 'x-amz-invocation-type': 'RequestResponse' },
    body: payload,
    region: 'us-east-1',
    service: 'lambda',
    datetime,
    ...credentials,
    ...overrides,
  })
  const signed = await signer.sign()
  return new Request(signed.url, { method: 'POST', headers: signed.headers })
}

const expected = { credentials, region: 'us-east-1', service: 'lambda', now }

async function verdict(request: Request, body = payload, at = now) {
  try {
    await verifySignature(request, bytes(body), { ...expected, now: at })
    return 'accepted'
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error
    expect(error.status).toBe(403)
    return error.type
  }
}

function edit(request: Request, change: (headers: Headers) => void) {
  const headers = new Headers(request.headers)
  change(headers)
  return new Request(request, { headers })
}

const editAuthorization = (request: Request, from: string | RegExp, to: string) =>
  edit(request, (headers) =>
    headers.set('authorization', (headers.get('authorization') ?? '').replace(from, to)),
  )

test('accepts a signed request', async () => {
  expect(await verdict(await sign())).toBe('accepted')
})

test('accepts the signed example of the AWS documentation', async () => {
  const request = new Request('https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08', {
    headers: {
      'content-type': 'application/x-www-form-urlencoded; charset=utf-8',
      'x-amz-date': '20150830T123600Z',
      authorization:
        'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
    },
  })
  await verifySignature(request, bytes(''), {
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' },
    region: 'us-east-1',
    service: 'iam',
    now: Date.parse('2015-08-30T12:36:00Z'),
  })
})

test.each<[string, Overrides, string]>([
  ['another secret', { secretAccessKey: 'other' }, 'InvalidSignatureException'],
  ['an unknown key', { accessKeyId: 'AKOTHER' }, 'UnrecognizedClientException'],
  ['another region', { region: 'eu-west-1' }, 'InvalidSignatureException'],
  ['another service', { service: 'sqs' }, 'InvalidSignatureException'],
  [
    'a body that was not hashed',
    { headers: { 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } },
    'InvalidSignatureException',
  ],
])('signed with %s: refused', async (_, overrides, type) => {
  expect(await verdict(await sign(overrides))).toBe(type)
})

test('refuses a changed body, with or without a hash in the headers', async () => {
  expect(await verdict(await sign(), '{"a":2}')).toBe('InvalidSignatureException')
  const hash = Buffer.from(await crypto.subtle.digest('SHA-256', bytes(payload))).toString('hex')
  const stated = await sign({ headers: { 'x-amz-content-sha256': hash } })
  expect(await verdict(stated)).toBe('accepted')
  expect(await verdict(stated, '{"a":2}')).toBe('InvalidSignatureException')
  const claimed = edit(await sign(), (headers) => headers.set('x-amz-content-sha256', hash))
  expect(await verdict(claimed, '{"a":2}')).toBe('InvalidSignatureException')
})

test.each([
  ['path', url.replace('function%3An', 'function%3Am')],
  ['query', url.replace('a%20b', 'c')],
  ['host', url.replace('127.0.0.1', 'localhost')],
])('a changed %s is refused', async (_, changed) => {
  const { headers } = await sign()
  expect(await verdict(new Request(changed, { method: 'POST', headers }))).toBe('InvalidSignatureException')
})

test('refuses a changed method', async () => {
  const { headers } = await sign()
  expect(await verdict(new Request(url, { method: 'PUT', headers }))).toBe('InvalidSignatureException')
})

test('refuses a changed or removed signed header', async () => {
  const request = await sign()
  const changed = edit(request, (headers) => headers.set('x-amz-invocation-type', 'Event'))
  const removed = edit(request, (headers) => headers.delete('x-amz-invocation-type'))
  expect(await verdict(changed)).toBe('InvalidSignatureException')
  expect(await verdict(removed)).toBe('InvalidSignatureException')
})

test('accepts a clock that differs by at most 5 minutes', async () => {
  const request = await sign()
  const minute = 60_000
  expect(await verdict(request, payload, now + 5 * minute)).toBe('accepted')
  expect(await verdict(request, payload, now - 5 * minute)).toBe('accepted')
  expect(await verdict(request, payload, now + 5 * minute + 1000)).toBe('InvalidSignatureException')
  expect(await verdict(request, payload, now - 5 * minute - 1000)).toBe('InvalidSignatureException')
})

test('refuses a missing date and one that differs from the scope', async () => {
  const request = await sign()
  expect(await verdict(editAuthorization(request, '/20261122/', '/20261121/'))).toBe(
    'InvalidSignatureException',
  )
  const dates: [string, string][] = [
    ['2026-11-22T07:04:05Z', 'IncompleteSignatureException'],
    ['20261399T070405Z', 'IncompleteSignatureException'],
    ['', 'IncompleteSignatureException'],
  ]
  for (const [date, type] of dates) {
    expect(await verdict(edit(request, (headers) => headers.set('x-amz-date', date)))).toBe(type)
  }
  expect(await verdict(edit(request, (headers) => headers.delete('x-amz-date')))).toBe(
    'IncompleteSignatureException',
  )
})

test('refuses a request without a signed host and date', async () => {
  const request = await sign()
  expect(await verdict(editAuthorization(request, 'host;', ''))).toBe('InvalidSignatureException')
  expect(await verdict(editAuthorization(request, 'x-amz-date;', ''))).toBe('InvalidSignatureException')
  expect(await verdict(editAuthorization(request, ';x-amz-date', ''))).toBe('InvalidSignatureException')
})

test('refuses a missing or malformed Authorization header', async () => {
  const request = await sign()
  const without = edit(request, (headers) => headers.delete('authorization'))
  expect(await verdict(without)).toBe('MissingAuthenticationTokenException')
  for (const value of [
    'Bearer x',
    'AWS4-HMAC-SHA256',
    'AWS4-HMAC-SHA256 Credential=/, SignedHeaders=host, Signature=0',
  ]) {
    const broken = edit(request, (headers) => headers.set('authorization', value))
    expect(await verdict(broken)).toBe('IncompleteSignatureException')
  }
  expect(await verdict(editAuthorization(request, /.$/, ''))).toBe('IncompleteSignatureException')
})

test.each(['host;;x-amz-date', ';host;x-amz-date', 'host;x-amz-date;', ';'])(
  'refuses a list of signed headers with an empty name: %s',
  async (list) => {
    const request = editAuthorization(await sign(), /SignedHeaders=[^,]+/, `SignedHeaders=${list}`)
    expect(await verdict(request)).toBe('IncompleteSignatureException')
  },
)
