/** Client connections: their limits, and the resources of a connection whose client has gone. */
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

/** A connection that sends `text` at once. */
function open(port: number, text = ''): Socket {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  if (text) socket.write(text)
  return socket
}

/** Everything received until the other side closed the connection. */
function received(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  return new Promise((resolve) => {
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')))
  })
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`

/** The number of open files and sockets of a process. */
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

test.concurrent('requests are freed when their client leaves, also many pipelined ones', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const path = '/docs/swagger-ui-bundle.js'
  expect((await fetch(new URL(path, api.baseUrl))).status).toBe(200)
  const filesOpen = () => descriptors(api.child.pid).filter((name) => name.endsWith('.js')).length
  await vi.waitFor(() => expect(filesOpen()).toBe(0), patience)
  const connections = () => descriptors(api.child.pid).filter((name) => name.startsWith('socket:')).length
  const before = connections()
  // The first client is cut off for pipelining too many. The others leave during their answers.
  for (const count of [500, 90, 90, 90, 90]) {
    const socket = open(portOf(api), get(path).repeat(count))
    await new Promise((resolve) => socket.once(count > 100 ? 'close' : 'data', resolve))
    socket.destroy()
  }
  await vi.waitFor(() => expect(filesOpen()).toBe(0), patience)
  await vi.waitFor(() => expect(connections()).toBeLessThanOrEqual(before), patience)
})

test.concurrent('pipelined requests are answered in order', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const last = 'GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
  const text = await received(open(portOf(api), get('/healthz').repeat(100) + last))
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual([...Array(100).fill('HTTP/1.1 200'), 'HTTP/1.1 404'])
})

test.concurrent('connections above MAX_CONNECTIONS get a 503, and the metrics server still answers /healthz', async (context) => {
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
  // Silent ones, and very many at once, are closed.
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

test.concurrent('MAX_CONNECTIONS beyond the limit on open files stops the start', async (context) => {
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

test.concurrent('the notifier and the metrics server close connections without a complete request', async (context) => {
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
    // 5 s, and more on a busy machine.
    expect(Date.now() - begunAt).toBeLessThan(15_000)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  }
})

test.concurrent('the notifier and the metrics server bound their connections', async (context) => {
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
    // An accepted one gets a time-out.
    expect(texts.filter((text) => text === '').length).toBeGreaterThanOrEqual(50)
    expect(texts.filter((text) => text.startsWith('HTTP/1.1 408 ')).length).toBeGreaterThan(50)
    expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  }
})
