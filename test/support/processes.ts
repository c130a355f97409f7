/** Starts the API as a user does, on free ports and a data directory of its own, and reads what it prints. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { findFreePort } from './ports.ts'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** A line of the process's output; `text` is what could not be read as JSON. */
export type Line = { message?: string; text?: string; [field: string]: unknown }

export type ApiProcess = {
  baseUrl: string
  notifierPort: number
  dataDirectory: string
  child: ChildProcess
  /** Everything printed so far, by the API and by the notifier, whose output it inherits. */
  lines: Line[]
  /** Resolves with the first line, printed or to come, that satisfies; rejects when the process ends before. */
  line(satisfies: (line: Line) => boolean): Promise<Line>
  /** SIGTERM, or the signal given; resolves with the exit code once the process has ended. */
  stop(signal?: NodeJS.Signals): Promise<number | null>
}

/** A directory that every user may enter, as the embedded Postgres of a root user needs; remove it with `rm`. */
export const temporaryDirectory = () => mkdtemp(join(tmpdir(), 'task-api-test-'))

/** Resolves when the API answers; rejects with its output when it does not start. */
export async function startApi(
  options: { environment?: Record<string, string>; dataDirectory?: string } = {},
): Promise<ApiProcess> {
  const dataDirectory = options.dataDirectory ?? (await temporaryDirectory())
  const notifierPort = Number(options.environment?.NOTIFIER_PORT ?? (await findFreePort()))
  const child = spawn(process.execPath, ['--enable-source-maps', join(root, 'dist/api.js')], {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      PORT: '0',
      NOTIFIER_PORT: String(notifierPort),
      DATA_DIR: dataDirectory,
      ...options.environment,
    },
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

  const listening = await line(({ message }) => message === 'listening')
  return {
    baseUrl: String(listening.url),
    notifierPort,
    dataDirectory,
    child,
    lines,
    line,
    async stop(signal = 'SIGTERM') {
      child.kill(signal)
      const code = await ended
      if (!options.dataDirectory) await rm(dataDirectory, { recursive: true, force: true })
      return code
    },
  }
}

/** What an operator does before the first start: `npm run migrate`. */
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
