/** Starts a proxy of Debian in front of the API, with its own port and directory. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root, temporaryDirectory } from './directories.ts'
import { findFreePort } from './ports.ts'

export type FrontEnd = {
  baseUrl: string
  /** The end of its standard error. */
  said(): string
  stop(): Promise<void>
}

/** @param configure returns the text of the file whose path `parameters` gets */
export async function startFrontEnd(
  name: 'nginx' | 'apache2' | 'haproxy',
  configure: (place: { directory: string; port: number }) => Promise<string>,
  parameters: (configuration: string) => string[],
): Promise<FrontEnd> {
  const program = `/usr/sbin/${name}`
  if (!existsSync(program)) throw new Error(`there is no ${name}: apt-get install ${name}`)
  const [directory, port] = await Promise.all([temporaryDirectory(), findFreePort()])
  const configuration = join(directory, `${name}.conf`)
  await writeFile(configuration, await configure({ directory, port }))
  const child = spawn(program, parameters(configuration), { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (chunk) => {
    said = (said + chunk).slice(-10_000)
  })
  const exited = once(child, 'exit')
  while (!(await accepts(port))) {
    if (child.exitCode !== null) throw new Error(`${name} does not start: ${said}`)
    await sleep(50)
  }
  return {
    baseUrl: `http://127.0.0.1:${port}`,
    said: () => said,
    async stop() {
      child.kill('SIGTERM')
      await exited
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** A configuration of `deploy/` with replaced pieces, such as ports. Throws if a piece is missing. */
export async function deployed(path: string, replacements: Record<string, string>): Promise<string> {
  let text = await readFile(join(root, 'deploy', path), 'utf8')
  for (const [piece, replacement] of Object.entries(replacements)) {
    if (!text.includes(piece)) throw new Error(`deploy/${path} does not have ${piece}`)
    text = text.replaceAll(piece, replacement)
  }
  return text
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** Workers of a root process run as another user, who may not enter the directory. */
export const isRoot = process.getuid?.() === 0
