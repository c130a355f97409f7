/** Connections: how many there may be, and what is left of one whose client has gone. */
import { readdirSync, readlinkSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { root } from '../support/directories.ts'
import { findFreePort } from '../support/ports.ts'
import { createService } from '../support/processes.ts'

const patience = { timeout: 60_000, interval: 100 }

function portOf({ baseUrl }: { baseUrl: string }) {
  return Number(new URL(baseUrl).port)
}

/** A connection on which `text` is sent at once. */
function open(port: number, text = ''): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (text) socket.write(text)
  return socket
}

/** What came on the connection until the other side closed it. */
function received(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  return new Promise((resolve) => {
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

/** The files and sockets that a process has open. */
function descriptors(pid = 0): string[] {
  const directory = `/proc/${pid}/fd`
  return readdirSync(directory).flatMap((name) => {
    try {
      return [readlinkSync(join(directory, name))]
    } catch {
      return []
    }
  })
}

test.concurrent('requests whose client has left are freed, however many it had sent', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const path = '/docs/swagger-ui-bundle.js'
  expect((await fetch(new URL(path, api.baseUrl))).status).toBe(200)
  const filesOpen = () => descriptors(api.child.pid).filter((name) => name.endsWith('.js')).length
  await vi.waitFor(() => expect(filesOpen()).toBe(0), patience)
  const connections = () => descriptors(api.child.pid).filter((name) => name.startsWith('socket:')).length
  const before = connections()
  // The first client is cut off for sending too many; the others leave while they are being answered.
  for (const count of [500, 90, 90, 90, 90]) {
    const socket = open(portOf(api), get(path).repeat(count))
    await new Promise((resolve) => socket.once(count > 100 ? 'close' : 'data', resolve))
    socket.destroy()
  }
  await vi.waitFor(() => expect(filesOpen()).toBe(0), patience)
  await vi.waitFor(() => expect(connections()).toBeLessThanOrEqual(before), patience)
})

test.concurrent('requests of one connection are answered in turn, also when there are many', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const last = 'GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  const text = await received(open(portOf(api), get('/healthz').repeat(100) + last))
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual([...Array(100).fill('HTTP/1.1 200'), 'HTTP/1.1 404'])
})

test.concurrent('connections above MAX_CONNECTIONS are told so, and /healthz of the metrics stays there', async (context) => {
  const metricsPort = await findFreePort()
  const service = await createService(context, { MAX_CONNECTIONS: '10', METRICS_PORT: String(metricsPort) })
  const api = await service.start()
  const held = Array.from({ length: 10 }, () => open(portOf(api), get('/healthz')))
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once('data', resolve))))

  const refused = await received(open(portOf(api), get('/healthz')))
  expect(refused).toMatch(/^HTTP\/1\.1 503 /)
  expect(refused).toMatch(/Retry-After: 1\r\n/)
  expect(refused).toMatch(/Connection: close\r\n/)
  expect(refused).toContain('"status":503')
  // One that says nothing is not kept, nor are very many at once.
  const silent = Array.from({ length: 100 }, () => open(portOf(api)))
  await Promise.all(silent.map(received))
  expect(held.every((socket) => !socket.destroyed)).toBe(true)
  const health = await fetch(`http://127.0.0.1:${metricsPort}/healthz`)
  expect([health.status, await health.json()]).toEqual([200, { status: 'alive' }])
  const warnings = api.lines.filter(({ message }) => /MAX_CONNECTIONS/.test(message ?? ''))
  expect(warnings).toHaveLength(1)

  held[0]?.destroy()
  await vi.waitFor(async () => {
    const answer = await fetch(new URL('/healthz', api.baseUrl), { headers: { Connection: 'close' } })
    expect(answer.status).toBe(200)
  }, patience)
  for (const socket of held) socket.destroy()
})

test.concurrent('MAX_CONNECTIONS that the open files do not allow for stop the start', async (context) => {
  const service = await createService(context)
  const start = service.startProgram(
    ['sh', '-c', `ulimit -n 400; exec "${process.execPath}" "${join(root, 'dist/api.js')}"`],
    {
      environment: {
        ...service.settings,
        PORT: '0',
        DATA_DIR: service.dataDirectory,
        MAX_CONNECTIONS: '200',
      },
    },
  )
  const { text } = await start.line(({ text }) => text !== undefined)
  expect(text).toMatch(/^MAX_CONNECTIONS: 200 are too many where 400 files may be open; give at most 135, or/)
})

test.concurrent('connections to the notifier and to the metrics without a whole request are closed', async (context) => {
  const metricsPort = await findFreePort()
  const service = await createService(context, { METRICS_PORT: String(metricsPort) })
  const api = await service.start()
  for (const port of [metricsPort, api.notifierPort]) {
    const begun = [
      '',
      'GET /healthz HTTP/1.1\r\nHost: ',
      'POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{',
    ]
    const begunAt = Date.now()
    await Promise.all(begun.map((text) => received(open(port, text))))
    // 5 s, and what a busy machine takes.
    expect(Date.now() - begunAt).toBeLessThan(15_000)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  }
})

test.concurrent('neither the notifier nor the metrics take connections without bound', async (context) => {
  const metricsPort = await findFreePort()
  const service = await createService(context, {
    METRICS_PORT: String(metricsPort),
    NOTIFIER_CONCURRENCY: '1',
  })
  const api = await service.start()
  for (const [port, most] of [
    [metricsPort, 100],
    [api.notifierPort, 401],
  ] as const) {
    const texts = await Promise.all(Array.from({ length: most + 50 }, () => received(open(port))))
    // One that was taken is told that its request did not come in time.
    expect(texts.filter((text) => text === '').length).toBeGreaterThanOrEqual(50)
    expect(texts.filter((text) => text.startsWith('HTTP/1.1 408 ')).length).toBeGreaterThan(50)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  }
})
