/** Starts the API as a user does, on free ports and its own data directory, and reads its output. */
import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import postgres from 'postgres'
import type { TestContext } from 'vitest'
import { isRunning, type ProcessToken, processToken } from '../../src/runtime/embedded-postgres/owner.ts'
import { findEmbeddedPostgres } from '../../src/runtime/embedded-postgres/start.ts'
import { root, temporaryDirectory } from './directories.ts'
import { copyFirstStart } from './first-start.ts'
import { findFreePort } from './ports.ts'
import { startWebhookReceiver } from './webhook-receiver.ts'

/** A line of output. `text` is a line that is not JSON. */
export type Line = { message?: string; text?: string; [field: string]: unknown }

export type Program = {
  child: ChildProcess
  /** All lines so far, including those of processes that inherit the output, such as the notifier. */
  lines: Line[]
  /** Resolves with the first line, past or future, that satisfies. Rejects when the process ends before. */
  line(satisfies: (line: Line) => boolean): Promise<Line>
  /**
   * Sends SIGTERM by default. Resolves with the exit code once all processes that share the output have
   * ended.
   */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

export type ApiProcess = Program & {
  baseUrl: string
  /** For `createClient`. Trusted only if TRUSTED_PROXY_HEADER names it. */
  addressHeader: string
  notifierPort: number
  dataDirectory: string
}

/** The environment is PATH and the given variables. */
export function startProgram(
  command: [program: string, ...parameters: string[]],
  options: { environment?: Record<string, string>; cwd?: string; detached?: boolean } = {},
): Program {
  const { environment, cwd = root, detached = false } = options
  const [program, ...parameters] = command
  const child = spawn(program, parameters, {
    cwd,
    detached,
    env: { PATH: process.env.PATH, ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const lines: Line[] = []
  const waiting = new Set<() => void>()
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (text) => {
      lines.push(readLine(text))
      for (const check of waiting) check()
    })
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))

  function line(satisfies: (line: Line) => boolean): Promise<Line> {
    return new Promise((resolve, reject) => {
      const check = () => {
        const found = lines.find(satisfies)
        if (!found) return
        waiting.delete(check)
        resolve(found)
      }
      waiting.add(check)
      check()
      ended.then((code) =>
        reject(new Error(`exit code ${code} after:\n${lines.map((l) => JSON.stringify(l)).join('\n')}`)),
      )
    })
  }

  return {
    child,
    lines,
    line,
    stop(signal = 'SIGTERM') {
      child.kill(signal)
      return ended
    },
  }
}

/** Tests register and log in by the dozen from one address. Tests of these limits set their own. */
export const wideAccountLimits = { RATE_LIMIT_TOKEN: '1000000/60s', RATE_LIMIT_REGISTER: '1000000/60s' }

const running = new Set<ApiProcess>()

/** Stops every API that still runs. */
export const stopApis = () => Promise.all([...running].map((api) => api.stop()))

/** Resolves when the API listens. Rejects with its output when it does not start. */
export async function startApi(
  options: { environment?: Record<string, string>; dataDirectory?: string; project?: string } = {},
): Promise<ApiProcess> {
  const dataDirectory = options.dataDirectory ?? (await temporaryDirectory())
  const removeOwn = async () => {
    if (!options.dataDirectory) await rm(dataDirectory, { recursive: true, force: true })
  }
  const notifierPort = Number(options.environment?.NOTIFIER_PORT ?? (await findFreePort()))
  const program = startProgram(
    [process.execPath, '--enable-source-maps', join(options.project ?? root, 'dist/api.js')],
    {
      environment: {
        PORT: '0',
        NOTIFIER_PORT: String(notifierPort),
        DATA_DIR: dataDirectory,
        ...wideAccountLimits,
        ...options.environment,
      },
    },
  )
  try {
    const listening = await program.line(({ message }) => message === 'listening')
    const api: ApiProcess = {
      ...program,
      baseUrl: String(listening.url),
      addressHeader: 'X-Forwarded-For',
      notifierPort,
      dataDirectory,
      async stop(signal) {
        running.delete(api)
        const code = await program.stop(signal)
        await removeOwn()
        return code
      },
    }
    running.add(api)
    return api
  } catch (error) {
    await removeOwn()
    throw error
  }
}

export type Descendant = { token: ProcessToken; pid: number; command: string }

/** The current descendants of a process, in all groups and sessions. */
export function descendantsOf({ pid: ancestor }: Pick<ChildProcess, 'pid'>): Descendant[] {
  if (ancestor === undefined) throw new Error('the process was never started')
  const all = listProcesses()
  const below = (pid: number): typeof all =>
    all.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...below(child.pid)])
  return below(ancestor).flatMap(({ pid, command }) => {
    const token = processToken(pid)
    return token ? [{ token, pid, command }] : []
  })
}

/** Sends SIGKILL. The process may have ended already. */
export function endProcess(pid: number) {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

function listProcesses() {
  const columns = ['-axww', '-o', 'pid=,ppid=,command=']
  const table = execFileSync('ps', columns, { encoding: 'utf8', maxBuffer: 2 ** 26 })
  return table.split('\n').flatMap((row) => {
    const [, pid, parent, command] = /^ *(\d+) +(\d+) (.*)$/.exec(row) ?? []
    return pid && command ? [{ pid: Number(pid), parent: Number(parent), command }] : []
  })
}

/**
 * A data directory, a webhook and settings for repeated starts of the API. With `firstStart` the first one
 * creates the data directory, too. The end of the test kills all processes and removes the directory.
 */
export async function createService(
  { onTestFinished }: Pick<TestContext, 'onTestFinished'>,
  environment: Record<string, string> = {},
  { firstStart = false } = {},
) {
  const dataDirectory = await temporaryDirectory()
  if (!firstStart) await copyFirstStart(dataDirectory)
  const webhook = await startWebhookReceiver()
  const settings = {
    NOTIFIER_PORT: String(await findFreePort()),
    NOTIFY_WEBHOOK_URL: webhook.url,
    RATE_LIMIT_USER: '1000000/60s',
    RATE_LIMIT_ANONYMOUS: '1000000/60s',
    ...wideAccountLimits,
    BCRYPT_COST: '4',
    ...environment,
  }
  const started: Program[] = []
  const known: Descendant[] = []
  const keep = <T extends Program>(program: T) => {
    started.push(program)
    return program
  }
  onTestFinished(async () => {
    for (const { child } of started) known.push(...descendantsOf(child))
    const ended = started.map((program) => program.stop('SIGKILL'))
    const isOurs = ({ pid, command }: { pid: number; command: string }) =>
      command.includes(dataDirectory) || known.some((one) => one.pid === pid && isRunning(one.token))
    const begun = Date.now()
    for (;;) {
      const left = listProcesses().filter(isOurs)
      if (left.length === 0) break
      // They normally end by themselves, and clean up.
      if (Date.now() - begun > 8_000) for (const { pid } of left) endProcess(pid)
      await sleep(50)
    }
    await Promise.all(ended)
    await webhook.close()
    await rm(dataDirectory, { recursive: true, force: true })
  })
  return {
    dataDirectory,
    webhook,
    settings,
    /** @param project root of another build of the project */
    async start(project = root) {
      const api = keep(await startApi({ dataDirectory, environment: settings, project }))
      known.push(...descendantsOf(api.child))
      return api
    },
    startProgram: (...parameters: Parameters<typeof startProgram>) => keep(startProgram(...parameters)),
    /** The output of all of them. */
    lines: () => started.flatMap(({ lines }) => lines),
    /** Queries the database while the API runs. */
    async query<T extends object>(statement: string): Promise<T[]> {
      const connection = await findEmbeddedPostgres({ dataDirectory })
      if (!connection) throw new Error('no API runs on the data directory')
      const sql = postgres({ ...connection, max: 1, onnotice: () => {} })
      return sql.unsafe<T[]>(statement).finally(() => sql.end({ timeout: 1 }))
    },
  }
}

export type Service = Awaited<ReturnType<typeof createService>>

/** Runs `npm run migrate`. */
export async function migrateDatabase(url: string) {
  await promisify(execFile)(process.execPath, [join(root, 'dist/migrate.js')], { env: { DATABASE_URL: url } })
}

function readLine(text: string): Line {
  try {
    return JSON.parse(text) as Line
  } catch {
    return { text }
  }
}
