/** Connections of a client: Expect: 100-continue, half-closed connections, pipelined requests. */
import { connect } from 'node:net'
import { describe, expect, inject, test, vi } from 'vitest'
import { createClient, taskPath } from '../support/client.ts'

const target = inject('wide')
const client = createClient(target)
const { hostname, port } = new URL(target.baseUrl)
const patience = { timeout: 60_000, interval: 50 }

/** A connection that stays open until the test closes it. */
function open() {
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true })
  const chunks: Buffer[] = []
  let ended = false
  socket.on('data', (chunk) => chunks.push(chunk)).on('error', () => {})
  socket.on('end', () => {
    ended = true
  })
  const text = () => Buffer.concat(chunks).toString('latin1')
  return {
    socket,
    text,
    /** Resolves once the service has closed its side. */
    async closed() {
      await vi.waitFor(() => expect(ended || socket.destroyed).toBe(true), patience)
      return text()
    },
    receives: (pattern: RegExp) => vi.waitFor(() => expect(text()).toMatch(pattern), patience),
  }
}

const statusesIn = (text: string) =>
  [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status))

type Head = { line: string; token?: string; headers?: string[]; type?: string }
const head = ({ line, token, headers = [], type = 'application/json' }: Head) =>
  [
    `${line} HTTP/1.1`,
    'Host: localhost',
    ...(type ? [`Content-Type: ${type}`] : []),
    ...(token ? [`Authorization: Bearer ${token}`] : []),
    ...headers,
    '\r\n',
  ].join('\r\n')

const title = '{"title":"a"}'
const announced = [`Content-Length: ${title.length}`]

describe('Expect: 100-continue', () => {
  const expecting = ['Expect: 100-continue']

  test.each<[string, Head, number]>([
    ['no token', { line: 'POST /api/tasks/', headers: announced }, 401],
    ['a bad token', { line: 'POST /api/tasks/', token: 'a.b.c', headers: announced }, 401],
    ['an unknown path', { line: 'POST /api/nothing/', headers: announced }, 404],
    ['a wrong method', { line: 'PUT /api/tasks/', headers: announced }, 405],
    ['a body too large', { line: 'POST /api/token/', headers: ['Content-Length: 65537'] }, 413],
    ['a wrong media type', { line: 'POST /api/token/', type: 'text/plain', headers: announced }, 415],
    ['no media type', { line: 'POST /api/token/', type: '', headers: announced }, 415],
    [
      'another charset',
      { line: 'POST /api/token/', type: 'application/json; charset=latin1', headers: announced },
      415,
    ],
    [
      'a compressed body',
      { line: 'POST /api/token/', headers: [...announced, 'Content-Encoding: gzip'] },
      415,
    ],
    [
      'a body in another coding',
      { line: 'POST /api/token/', headers: ['Transfer-Encoding: gzip, chunked'] },
      501,
    ],
    ['two Hosts', { line: 'POST /api/token/', headers: [...announced, 'Host: b'] }, 400],
    ['a body that no operation reads', { line: 'GET /healthz', headers: announced }, 200],
  ])('%s gets the final status at once', async (_, request, status) => {
    const { socket, closed } = open()
    socket.write(head({ ...request, headers: [...(request.headers ?? []), ...expecting] }))
    const text = await closed()
    expect(statusesIn(text)).toEqual([status])
    expect(text).toMatch(/\r\nConnection: close\r\n/i)
    socket.destroy()
  })

  test.each([announced, ['Transfer-Encoding: chunked']])(
    'a body that will be read gets a 100 (%s)',
    async (framing) => {
      const { token } = await client.register()
      const { socket, receives, text } = open()
      socket.write(head({ line: 'POST /api/tasks/', token, headers: [framing, ...expecting].flat() }))
      await receives(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
      const chunked = framing !== announced[0]
      socket.write(chunked ? `${title.length.toString(16)}\r\n${title}\r\n0\r\n\r\n` : title)
      await receives(/ 201 Created/)
      // The connection stays open.
      socket.write(head({ line: 'GET /healthz' }))
      await receives(/ 200 OK/)
      expect(statusesIn(text())).toEqual([100, 201, 200])
      socket.destroy()
    },
  )

  test('a body sent without waiting is not read as the next request', async () => {
    const smuggled = head({ line: 'GET /healthz' })
    const { socket, closed } = open()
    const headers = [`Content-Length: ${smuggled.length}`, ...expecting]
    socket.write(head({ line: 'POST /api/tasks/', headers }) + smuggled)
    expect(statusesIn(await closed())).toEqual([401])
    socket.destroy()
  })
})

describe('a client that half-closes after its request', () => {
  test('gets its answer', async () => {
    const user = await client.register()
    const { socket, closed } = open()
    socket.end(head({ line: 'POST /api/tasks/', token: user.token, headers: announced }) + title)
    const text = await closed()
    expect(statusesIn(text)).toEqual([201])
    const task = JSON.parse(text.slice(text.indexOf('\r\n\r\n')))
    expect((await client.request('GET', taskPath(task), { token: user.token })).body).toEqual(task)
  })

  test('gets a slow answer', async () => {
    const { username, password } = await client.register()
    const body = JSON.stringify({ username, password })
    const { socket, closed } = open()
    socket.end(head({ line: 'POST /api/token/', headers: [`Content-Length: ${body.length}`] }) + body)
    expect(statusesIn(await closed())).toEqual([200])
  })

  test('gets the answers to all its requests', async () => {
    const { socket, closed } = open()
    socket.end(
      head({ line: 'GET /healthz' }) + head({ line: 'GET /nothing' }) + head({ line: 'GET /readyz' }),
    )
    expect(statusesIn(await closed())).toEqual([200, 404, 200])
  })

  test('gets a whole large answer', async () => {
    const path = '/docs/swagger-ui-bundle.js'
    const { body } = await client.request('GET', path)
    const { socket, closed } = open()
    socket.end(head({ line: `GET ${path}` }))
    const text = await closed()
    expect(text).toContain('HTTP/1.1 200 OK')
    expect(text.length).toBeGreaterThan(Buffer.byteLength(body))
  })
})

test('the connection of a client that ignores the end is closed', async () => {
  const { socket, closed } = open()
  socket.write('NONSENSE\r\n\r\n')
  expect(statusesIn(await closed())).toEqual([400])
  // The client's half is still open. Sending fails once the service has destroyed the connection.
  await vi.waitFor(() => {
    socket.write('a')
    expect(socket.destroyed).toBe(true)
  }, patience)
})

describe('pipelined requests', () => {
  const create = (token: string, last: string) =>
    head({ line: 'POST /api/tasks/', token, headers: [`Content-Length: ${last.length}`] }) + last

  test('after a refused request that ends the connection have no effect', async () => {
    const { token } = await client.register()
    const refused = 'GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n'
    const { socket, closed } = open()
    socket.write(create(token, title) + refused + create(token, title))
    expect(statusesIn(await closed())).toEqual([201, 400])
    socket.destroy()
    const { body } = await client.request('GET', '/api/tasks/?count=true', { token })
    expect(body.count).toBe(1)
  })

  test('see the effects of earlier ones', async () => {
    const { token } = await client.register()
    const { socket, text, receives } = open()
    const list = head({ line: 'GET /api/tasks/?count=true', token })
    socket.write(create(token, title) + list + create(token, title) + list)
    await receives(/"count":2/)
    expect(statusesIn(text())).toEqual([201, 200, 201, 200])
    expect(text()).toMatch(/"count":1/)
    socket.destroy()
  })

  test('before one with a broken body are answered first', async () => {
    const broken = head({ line: 'POST /api/token/', headers: ['Transfer-Encoding: chunked'] })
    const { socket, closed } = open()
    socket.write(`${head({ line: 'GET /healthz' }) + head({ line: 'GET /nothing' }) + broken}zz\r\n`)
    expect(statusesIn(await closed())).toEqual([200, 404, 400])
    socket.destroy()
  })
})
