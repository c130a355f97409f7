/** Runs wrk, or autocannon where there is no wrk, in a process of its own. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Request } from './scenarios.ts'
import { hasProgram, type Services } from './services.ts'
import { peersDirectory, type Started } from './targets.ts'

/** Times in ms. `wrong` counts answers of another status, and requests without an answer. */
export type Load = { requests: number; seconds: number; p50: number; p99: number; wrong: number }

export type LoadOptions = {
  services: Services
  started: Started
  requests: Request[]
  statuses: number[]
  connections: number
  seconds: number
  /** Requests a second of all connections; as many as possible by default. */
  rate?: number
}

/** A steady rate needs autocannon. */
export async function drive(options: LoadOptions): Promise<Load> {
  const { services, started, requests, statuses, connections, seconds, rate } = options
  const isWrk = rate === undefined && statuses.length === 1 && hasProgram('wrk')
  const [input, result] = [join(services.directory, 'requests'), join(services.directory, 'result')]
  writeFileSync(
    input,
    isWrk ? requests.map((request) => rawOf(request, started)).join('') : JSON.stringify(requests),
  )
  const command: [string, ...string[]] = isWrk
    ? [
        'wrk',
        ...['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '30s'],
        ...['-s', join(peersDirectory, 'replay.lua'), started.url],
      ]
    : [process.execPath, join(peersDirectory, 'autocannon.mjs')]
  const [program, ...parameters] = services.pin(command, 'other')
  const child = spawn(program, parameters, {
    env: {
      PATH: process.env.PATH,
      REQUESTS: input,
      RESULT: result,
      STATUS: statuses.join(),
      URL: started.url,
      CONNECTIONS: String(connections),
      SECONDS: String(seconds),
      RATE: rate === undefined ? '' : String(rate),
    },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const end = () => child.kill('SIGKILL')
  process.once('exit', end)
  const code = await new Promise((resolve) => child.once('exit', resolve))
  process.off('exit', end)
  if (code !== 0) throw new Error(`${program} ended with ${code}`)
  return JSON.parse(readFileSync(result, 'utf8'))
}

function rawOf({ method, path, headers, body }: Request, { url }: Started) {
  const lines = Object.entries({ Host: new URL(url).host, ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  const raw = `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`
  return `${Buffer.byteLength(raw)}\n${raw}\n`
}
