/** A real, throw-away Redis for tests: the redis-server on the PATH. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from '@redis/client'
import { findFreePort } from './ports.ts'

export type TestRedis = Awaited<ReturnType<typeof startTestRedis>>

/** @param options of redis-server, such as `--requirepass secret` */
export async function startTestRedis(...options: string[]) {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-redis-'))
  const port = await findFreePort()
  let server: ChildProcess | undefined

  async function start() {
    const own = [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      directory,
      '--save',
      '',
      '--appendonly',
      'no',
    ]
    const child = spawn('redis-server', [...own, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
    server = child
    // For any end of this process.
    process.once('exit', () => child.kill('SIGKILL'))
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}`)))
      child.stdout.on('data', (chunk) => {
        if (String(chunk).includes('Ready to accept connections')) resolve()
      })
    })
  }

  async function end(signal: NodeJS.Signals) {
    if (!server || server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill(signal)
    await exited
  }

  await start()
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    kill: () => end('SIGKILL'),
    /** Starts it empty, on the same port. */
    start,
    freeze: () => server?.kill('SIGSTOP'),
    thaw: () => server?.kill('SIGCONT'),
    /** The number of calls of each command since the start. */
    async counts(): Promise<Record<string, number>> {
      const info = await ask(['INFO', 'commandstats'])
      return Object.fromEntries(
        [...String(info).matchAll(/cmdstat_([^:]+):calls=(\d+)/g)].map(([, name, calls]) => [
          name,
          Number(calls),
        ]),
      )
    },
    ask,
    async stop() {
      server?.kill('SIGCONT')
      await end('SIGKILL')
      await rm(directory, { recursive: true, force: true })
    },
  }

  async function ask(command: string[]): Promise<unknown> {
    const client = createClient({ url: `redis://127.0.0.1:${port}` })
    client.on('error', () => {})
    await client.connect()
    try {
      return await client.sendCommand(command)
    } finally {
      client.destroy()
    }
  }
}

/** Waits for a condition, however slow the machine is. */
export async function until(condition: () => Promise<boolean> | boolean, what: string) {
  const deadline = Date.now() + 60_000
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await sleep(50)
  }
}
