import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createLogger } from '../../src/core/log.ts'
import { StartError } from '../../src/core/start-error.ts'
import { createLambdaClient } from '../../src/outbox/lambda-client.ts'
import { loadOrCreateCredentials } from '../../src/runtime/notifier/credentials.ts'
import { type NotifierProcess, startNotifier } from '../../src/runtime/notifier/process.ts'
import { makeCompletionEvent } from '../support/completion-event.ts'
import { findFreePort, listenOnLoopback } from '../support/ports.ts'
import { startWebhookReceiver } from '../support/webhook-receiver.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const entry = join(root, 'dist/notifier.js')
const patience = { timeout: 60_000, interval: 20 }

let directory: string
let port: number
const cleanups: (() => unknown)[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'notifier-process-'))
  port = await findFreePort()
})
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
  await rm(directory, { recursive: true, force: true })
})

type Overrides = Partial<Parameters<typeof startNotifier>[0]>
type Line = Record<string, unknown>

async function start(overrides: Overrides = {}) {
  const lines: Line[] = []
  const notifier = await startNotifier({
    entry,
    port,
    dataDirectory: directory,
    functionName: 'task-notifier',
    region: 'us-east-1',
    environment: { LOG_LEVEL: 'silent' },
    log: createLogger('debug', (line) => lines.push(JSON.parse(line))),
    ...overrides,
  })
  cleanups.push(() => notifier.stop())
  const pids = () =>
    lines.filter(({ message }) => message === 'notifier spawned').map(({ pid }) => Number(pid))
  return { ...notifier, lines, pids }
}

const client = ({ endpoint, credentials }: Pick<NotifierProcess, 'endpoint' | 'credentials'>) =>
  createLambdaClient({
    endpoint,
    credentials,
    functionName: 'task-notifier',
    invocation: 'RequestResponse',
    region: 'us-east-1',
    timeoutMs: 30_000,
  })

/** A zombie, which its parent has not reaped yet, has ended too. */
async function hasEnded(pid: number) {
  try {
    process.kill(pid, 0)
  } catch {
    return true
  }
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return / Z /.test(status)
}

function run(path: string, env: Record<string, string>, args: string[] = []) {
  const child = spawn(process.execPath, [path, ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH, ...env },
  })
  cleanups.push(() => child.kill('SIGKILL'))
  return child
}

async function ending(child: ReturnType<typeof run>) {
  const [stdout, stderr, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { stdout, stderr, code, signal }
}

/** A program that starts the notifier and keeps running, as the API does. */
async function startParent() {
  const path = join(directory, 'parent.mjs')
  await build({
    stdin: {
      resolveDir: root,
      contents: `
        import { createLogger } from './src/core/log.ts'
        import { startNotifier } from './src/runtime/notifier/process.ts'
        const notifier = await startNotifier({ ...JSON.parse(process.env.OPTIONS), environment: process.env, log: createLogger('debug') })
        console.log('{"message":"up"}')
        process.on('SIGTERM', () => notifier.stop())`,
    },
    outfile: path,
    bundle: true,
    platform: 'node',
    format: 'esm',
  })
  const options = {
    entry,
    port,
    dataDirectory: directory,
    functionName: 'task-notifier',
    region: 'us-east-1',
  }
  const child = run(path, { OPTIONS: JSON.stringify(options), JWT_SECRET: 'none of its business' })
  const lines: Line[] = []
  let rest = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) lines.push(JSON.parse(part))
  })
  const find = (message: string) => lines.find((line) => line.message === message)
  await vi.waitFor(() => expect(find('up')).toBeDefined(), patience)
  return { child, lines, find, pid: Number(find('notifier spawned')?.pid) }
}

const closed = (child: ChildProcess) => (child.exitCode ?? child.signalCode) === null && once(child, 'exit')

describe('supervision', () => {
  test('restarts a killed notifier', async () => {
    const notifier = await start()
    for (const deaths of [1, 2]) {
      const pid = notifier.pids().at(-1)
      if (pid === undefined) throw new Error('no pid')
      process.kill(pid, 'SIGKILL')
      await vi.waitFor(() => expect(notifier.pids()).toHaveLength(deaths + 1), patience)
      await vi.waitFor(() => client(notifier).invoke(makeCompletionEvent()), patience)
    }
    const deaths = notifier.lines.filter(({ message }) => message === 'notifier died')
    expect(deaths).toMatchObject([
      { level: 'warn', signal: 'SIGKILL', restart_in_ms: 100 },
      { level: 'warn', signal: 'SIGKILL', restart_in_ms: 200 },
    ])
  })

  test('a stopped notifier is not restarted', async () => {
    const notifier = await start()
    await notifier.stop()
    await notifier.stop()
    const [pid] = notifier.pids()
    expect(await hasEnded(pid ?? 0)).toBe(true)
    await listenOnLoopback(closeLater(createServer()), port)
    expect(notifier.lines.filter(({ message }) => message === 'notifier died')).toEqual([])
  })

  test('a notifier that is stopped before its restart is not restarted', async () => {
    const notifier = await start()
    const died = () => notifier.lines.some(({ message }) => message === 'notifier died')
    process.kill(notifier.pids()[0] ?? 0, 'SIGKILL')
    await vi.waitFor(() => expect(died()).toBe(true), { ...patience, interval: 1 })
    await notifier.stop()
    const spawned = notifier.pids().length
    // A new one on the same port takes longer to start than the wait for the restart.
    await start()
    expect(notifier.pids()).toHaveLength(spawned)
  })

  test('finishes requests in flight before it stops', async () => {
    const receiver = await startWebhookReceiver()
    cleanups.push(() => receiver.close())
    let release = () => {}
    const arrived = new Promise<void>((resolve) => {
      receiver.answerWith((response) => {
        release = () => void response.writeHead(200).end()
        resolve()
      })
    })
    const environment = { LOG_LEVEL: 'silent', NOTIFY_WEBHOOK_URL: receiver.url }
    const notifier = await start({ environment })
    const invoked = client(notifier).invoke(makeCompletionEvent())
    await arrived
    const stopped = notifier.stop()
    // It accepts no new work: the port is free before the request in flight ends.
    await vi.waitFor(() => listenOnLoopback(closeLater(createServer()), port), patience)
    release()
    await invoked
    await stopped
    expect(await hasEnded(notifier.pids()[0] ?? 0)).toBe(true)
  })

  test('ends when its parent is killed, and the next parent gets its port', async () => {
    const parent = await startParent()
    expect(parent.find('notifier listening')).toMatchObject({ port, function: 'task-notifier' })
    parent.child.kill('SIGKILL')
    const next = await start()
    await client(next).invoke(makeCompletionEvent())
    await vi.waitFor(async () => expect(await hasEnded(parent.pid)).toBe(true), patience)
  })

  test('a parent that stops it can exit; its log lines are in the parent’s output', async () => {
    const parent = await startParent()
    const credentials = await loadOrCreateCredentials(join(directory, 'notifier-credentials'))
    const event = makeCompletionEvent({ title: 'Paint the door' })
    await client({ endpoint: `http://127.0.0.1:${port}`, credentials }).invoke(event)
    await vi.waitFor(() => expect(parent.find('task completed')).toBeDefined(), patience)
    expect(parent.find('task completed')).toMatchObject({ event_id: event.id, title: 'Paint the door' })
    parent.child.kill('SIGTERM')
    await closed(parent.child)
    expect(parent.child.exitCode).toBe(0)
    expect(await hasEnded(parent.pid)).toBe(true)
  })

  test.skipIf(process.platform === 'win32')(
    'does not receive a Ctrl-C in the terminal of its parent',
    async () => {
      const notifier = await start()
      const [pid = 0] = notifier.pids()
      const ps = spawn('ps', ['-o', 'pgid=', '-p', String(pid)])
      expect(Number(await text(ps.stdout))).toBe(pid)
    },
  )

  test.skipIf(process.platform !== 'linux')('does not get the API’s secrets', async () => {
    const parent = await startParent()
    const environment = await readFile(`/proc/${parent.pid}/environ`, 'utf8')
    expect(environment).toContain(`NOTIFIER_PORT=${port}`)
    expect(environment).not.toContain('JWT_SECRET')
  })
})

test('closes connections above its limit, and accepts new ones when others end', async () => {
  await start({ environment: { LOG_LEVEL: 'silent', NOTIFIER_CONCURRENCY: '1' } })
  let closed = 0
  const sockets: Socket[] = []
  cleanups.push(() => sockets.map((socket) => socket.destroy()))
  while (sockets.length < 450) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined)
    socket.on('close', () => closed++).resume()
    sockets.push(socket)
  }
  await vi.waitFor(() => expect(closed).toBeGreaterThanOrEqual(450 - 401), patience)
  // Idle connections are closed only after a minute.
  expect(closed).toBeLessThan(450)
  for (const socket of sockets) socket.destroy()
  await vi.waitFor(
    async () => expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200),
    patience,
  )
})

function closeLater(server: ReturnType<typeof createServer>) {
  cleanups.push(() => server.close())
  return server
}

describe('a failing start', () => {
  test('names the setting in one line if the port is still taken after a wait', async () => {
    await listenOnLoopback(closeLater(createServer()), port)
    const error = await start().catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(StartError)
    expect(String(error)).toMatch(new RegExp(`NOTIFIER_PORT: ${port} is taken by another program; .+$`))
  })

  test('a wrong setting of the notifier is printed by the notifier, which ends', async () => {
    const error = await start({ environment: { NOTIFY_WEBHOOK_URL: 'nonsense' } }).catch(
      (thrown: unknown) => thrown,
    )
    expect(error).toBeInstanceOf(StartError)
    expect(String(error)).toContain('did not start')
  })

  test('the process prints a line for each wrong setting and exits with 1', async () => {
    const { code, stderr, stdout } = await ending(run(entry, { NOTIFIER_PORT: '99999' }))
    expect(code).toBe(1)
    expect(stdout).toBe('')
    expect(stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^NOTIFIER_PORT: "99999" is not usable; give /),
      expect.stringMatching(/^AWS_ACCESS_KEY_ID: missing; give /),
      expect.stringMatching(/^AWS_SECRET_ACCESS_KEY: missing; give /),
    ])
  })

  test.each<[string, string[], string]>([
    ['a bad concurrency', ['--concurrency', '0'], 'NOTIFIER_CONCURRENCY: "0" is not usable; give '],
    ['an unknown argument', ['--concurrency=1', '--x'], "Unknown option '--x'"],
  ])('the process prints one line for %s', async (_, args, beginning) => {
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }
    const { code, stderr } = await ending(run(entry, { ...keys, NOTIFIER_PORT: String(port) }, args))
    expect(code).toBe(1)
    expect(stderr.startsWith(beginning), stderr).toBe(true)
    expect(stderr.trimEnd()).not.toContain('\n')
  })

  test.each([
    ['NOTIFIER_PORT', () => ({})],
    ['NOTIFIER_HOST', () => ({ NOTIFIER_HOST: '192.0.2.1' })],
  ])('the process names %s in one line if it cannot listen', async (name, settings) => {
    await listenOnLoopback(closeLater(createServer()), port)
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' }
    const { code, stderr } = await ending(run(entry, { ...keys, NOTIFIER_PORT: String(port), ...settings() }))
    expect(code).toBe(1)
    expect(stderr).toMatch(new RegExp(`^${name}: .+\\n$`))
  })
})

test('without a parent the process ignores its standard input and ends on SIGINT', async () => {
  const child = run(entry, {
    AWS_ACCESS_KEY_ID: 'a',
    AWS_SECRET_ACCESS_KEY: 'b',
    NOTIFIER_PORT: String(port),
  })
  const result = ending(child)
  child.stdin.end()
  const healthy = async () => expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
  await vi.waitFor(healthy, patience)
  await healthy()
  child.kill('SIGINT')
  const { code, stdout } = await result
  expect(code).toBe(0)
  expect(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line).message),
  ).toEqual(['notifier listening', 'notifier stopping'])
})

describe('the key pair', () => {
  const path = () => join(directory, 'deeper', 'notifier-credentials')

  test('is created once, readable only by its owner, in the format of AWS’s tools', async () => {
    const pairs = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateCredentials(path())))
    const [pair] = pairs
    for (const other of [...pairs, await loadOrCreateCredentials(path())]) expect(other).toEqual(pair)
    expect((await stat(path())).mode & 0o777).toBe(0o600)
    expect(await readFile(path(), 'utf8')).toBe(
      `[default]\naws_access_key_id=${pair?.accessKeyId}\naws_secret_access_key=${pair?.secretAccessKey}\n`,
    )
  })

  test('a file without a key pair fails the start', async () => {
    await writeFile(join(directory, 'notifier-credentials'), '[default]\n', { mode: 0o600 })
    await expect(start()).rejects.toThrow(/notifier-credentials: holds no key pair; delete it/)
  })

  test('a directory that cannot be created fails the start', async () => {
    await writeFile(join(directory, 'file'), '')
    await expect(start({ dataDirectory: join(directory, 'file') })).rejects.toThrow(StartError)
  })
})
