import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { isContainerUrl } from '../../src/events/credentials.ts'
import { openCredentials } from '../../src/runtime/container-credentials.ts'
import { startCredentialsEndpoint } from '../support/credentials-endpoint.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const [a, b] = ['A', 'B'].map((name) => ({
  accessKeyId: `AK${name}`,
  secretAccessKey: `secret ${name}`,
})) as [{ accessKeyId: string; secretAccessKey: string }, { accessKeyId: string; secretAccessKey: string }]
const hour = 3_600_000
const lent = (pair: typeof a) => ({ ...pair, sessionToken: `session of ${pair.accessKeyId}` })

let endpoint: Awaited<ReturnType<typeof startCredentialsEndpoint>>
let time: number
const now = () => time
beforeEach(async () => {
  endpoint = await startCredentialsEndpoint()
  time = Date.parse('2026-11-22T07:04:05Z')
})
afterEach(() => endpoint.close())

test('a key pair is what it is', async () => {
  expect(await openCredentials(a)()).toBe(a)
})

test('what is lent is kept until five minutes before it expires, then asked for again', async () => {
  endpoint.lend(a, time + 6 * hour)
  const credentials = openCredentials({ url: endpoint.url }, now)
  for (const _ of 'abc') expect(await credentials()).toEqual(lent(a))
  endpoint.lend(b, time + 12 * hour)
  time += 6 * hour - 300_001
  expect(await credentials()).toEqual(lent(a))
  expect(endpoint.asked()).toBe(1)
  time += 1
  for (const _ of 'abc') expect(await credentials()).toEqual(lent(b))
  expect(endpoint.asked()).toBe(2)
})

test('those who ask together ask once', async () => {
  endpoint.lend(a, time + hour)
  const credentials = openCredentials({ url: endpoint.url }, now)
  expect(await Promise.all(Array.from({ length: 20 }, () => credentials()))).toEqual(Array(20).fill(lent(a)))
  expect(endpoint.asked()).toBe(1)
})

test('an endpoint that fails does no harm while there are some that hold, and is asked now and then', async () => {
  endpoint.lend(a, time + hour)
  const credentials = openCredentials({ url: endpoint.url }, now)
  await credentials()
  endpoint.answerWith((response) => void response.writeHead(500).end())
  time += hour - 60_000
  for (const _ of 'abc') expect(await credentials()).toEqual(lent(a))
  expect(endpoint.asked()).toBe(2)
  time += 5_000
  await credentials()
  expect(endpoint.asked()).toBe(3)

  time += 60_000
  await expect(credentials()).rejects.toThrow('it answered 500')
  endpoint.lend(b, time + hour)
  expect(await credentials()).toEqual(lent(b))
})

test('what was refused is asked for again before it expires', async () => {
  endpoint.lend(a, time + hour)
  const credentials = openCredentials({ url: endpoint.url }, now)
  const first = await credentials()
  endpoint.lend(b, time + hour)
  expect(await credentials()).toBe(first)
  const second = await credentials(first)
  expect(second).toEqual(lent(b))
  // The first invocation may be told late that it was refused.
  expect(await credentials(first)).toBe(second)
  expect(endpoint.asked()).toBe(2)
})

test('a token is shown to the endpoint; one in a file is read again each time', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-token-'))
  try {
    endpoint.changeToken('one')
    endpoint.lend(a, time)
    expect(await openCredentials({ url: endpoint.url, token: 'one' }, () => time - hour)()).toEqual(lent(a))
    const tokenFile = join(directory, 'token')
    await writeFile(tokenFile, 'one\n')
    const credentials = openCredentials({ url: endpoint.url, token: 'another', tokenFile }, now)
    expect(await credentials()).toEqual(lent(a))
    endpoint.changeToken('two')
    await expect(credentials()).rejects.toThrow('it answered 401')
    await writeFile(tokenFile, 'two')
    endpoint.lend(b, time + hour)
    expect(await credentials()).toEqual(lent(b))
    await rm(tokenFile)
    await expect(openCredentials({ url: endpoint.url, tokenFile }, now)()).rejects.toThrow('ENOENT')
    await writeFile(tokenFile, 'tw\no')
    const broken = openCredentials({ url: endpoint.url, tokenFile }, now)()
    await expect(broken).rejects.toThrow(/: its token or address is no good$/)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})

test.each<[string, string, RegExp]>([
  ['no JSON', 'nope', /its answer lacks an object$/],
  [
    'a part of it',
    '{"AccessKeyId":"a","SecretAccessKey":"","Expiration":"soon"}',
    /lacks SecretAccessKey, Token, Expiration$/,
  ],
])('an answer that is %s', async (_, body, message) => {
  endpoint.answerWith((response) => void response.end(body))
  await expect(openCredentials({ url: endpoint.url })()).rejects.toThrow(message)
})

test('an error is one line, and shows neither path nor token', async () => {
  const elsewhere = await startWebhookReceiver()
  try {
    const failing: ((response: Parameters<Parameters<typeof endpoint.answerWith>[0]>[0]) => void)[] = [
      (response) => void response.writeHead(307, { location: elsewhere.url }).end(),
      (response) => void response.destroy(),
      () => {},
    ]
    const messages: string[] = []
    endpoint.changeToken('hunter2')
    for (const answer of failing) {
      endpoint.answerWith(answer)
      await openCredentials({ url: endpoint.url, token: 'hunter2' })().catch((error) =>
        messages.push(String(error)),
      )
    }
    await endpoint.close()
    await openCredentials({ url: endpoint.url, token: 'hunter2' })().catch((error) =>
      messages.push(String(error)),
    )
    const { host } = new URL(endpoint.url)
    expect(messages).toEqual([
      `Error: no credentials from ${host}: it answered 307`,
      expect.stringMatching(`^Error: no credentials from ${host}: (other side closed|read ECONNRESET)$`),
      `Error: no credentials from ${host}: no answer within 2000 ms`,
      `Error: no credentials from ${host}: connect ECONNREFUSED ${host}`,
    ])
    expect(elsewhere.received).toEqual([])
  } finally {
    await elsewhere.close()
  }
})

test.each([
  ['http://169.254.170.2/v2/credentials/x', true],
  ['http://169.254.170.23/v1/credentials', true],
  ['http://[fd00:ec2::23]/v1/credentials', true],
  ['http://127.0.0.1:51679/x', true],
  ['http://127.9.9.9/', true],
  ['http://[::1]:80/x', true],
  ['http://localhost:8080/x', true],
  ['https://credentials.example.com/x', true],
  ['http://credentials.example.com/x', false],
  ['http://169.254.169.254/latest/meta-data', false],
  ['http://127.0.0.1.example.com/', false],
  ['http://10.0.0.1/', false],
  ['http://[::ffff:169.254.170.2]/', false],
  ['https://user:pw@credentials.example.com/x', false],
  ['ftp://127.0.0.1/', false],
  ['/v2/credentials/x', false],
])('%s may lend credentials: %s', (url, may) => {
  expect(isContainerUrl(url)).toBe(may)
})
