/** Prism, a validating proxy, finds contradictions between requests, answers and the OpenAPI document. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root, temporaryDirectory } from './directories.ts'
import { findFreePort, listenOnLoopback } from './ports.ts'
import { ask, headerOf, type RawAnswer, type RawRequest, withoutFraming } from './raw-http.ts'

/** `location` begins with `request` or `response`. */
export type Violation = { location: string[]; message: string }

const program = join(root, '.ci/openapi/node_modules/@stoplight/prism-cli/dist/index.js')
/** Has the id of the answer that Prism's upstream gives. */
const answerHeader = 'X-Prism-Answer'

export async function startPrism(apiUrl: string) {
  if (!existsSync(program)) throw new Error('there is no Prism: npm ci --prefix .ci/openapi')
  const [directory, port, upstream] = await Promise.all([
    temporaryDirectory(),
    findFreePort(),
    startUpstream(),
  ])
  const document = join(directory, 'openapi.json')
  await writeFile(document, JSON.stringify(await documentOf(apiUrl)))
  const options = ['--port', String(port), '--cors', 'false', '--verboseLevel', 'silent']
  const child = spawn(process.execPath, [program, 'proxy', document, upstream.url, ...options], {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const exited = once(child, 'exit')
  const host = `127.0.0.1:${port}`
  const url = `http://${host}`

  /** Sends the request to Prism, whose upstream gives this answer. The API gets no second request. */
  async function check(request: RawRequest, answer: RawAnswer): Promise<Violation[]> {
    const id = upstream.remember(answer)
    const own = ['Host', host, 'Content-Length', String(request.body.length), answerHeader, id]
    const headers = [...withoutFraming(request.headers), ...own]
    return ask(url, { ...request, headers }).then(violationsOf, (error: Error) => [
      { location: ['response'], message: `Prism failed: ${error.message}` },
    ])
  }

  async function stop() {
    child.kill('SIGTERM')
    await exited
    upstream.close()
    await rm(directory, { recursive: true, force: true })
  }

  const isUp = () =>
    ask(url, { method: 'GET', path: '/', headers: ['Host', host], body: Buffer.alloc(0) }).then(Boolean)
  while (!(await isUp().catch(() => false))) {
    if (child.exitCode !== null) throw new Error(`Prism ended with exit code ${child.exitCode}`)
    await sleep(100)
  }
  return { check, stop }
}

function violationsOf({ status, headers, body }: RawAnswer): Violation[] {
  const told = headerOf(headers, 'sl-violations')
  if (told?.startsWith('[')) return JSON.parse(told)
  // Too many violations for a header.
  if (told !== undefined) return [{ location: ['response'], message: told.slice(0, 500) }]
  if (headerOf(headers, answerHeader) !== undefined) return []
  // Prism has refused the request.
  return [{ location: ['request'], message: `Prism answered ${status} ${body}` }]
}

/** The document without default answers, so that every status has to be documented. */
async function documentOf(apiUrl: string) {
  const response = await fetch(`${apiUrl}/openapi.json`)
  const document = (await response.json()) as { paths: Record<string, Record<string, Documented>> }
  for (const operations of Object.values(document.paths)) {
    for (const { responses } of Object.values(operations)) delete responses.default
  }
  return document
}

type Documented = { responses: Record<string, unknown> }

/** Answers each request with the answer that was stored for it. */
async function startUpstream() {
  const answers = new Map<string, RawAnswer>()
  let count = 0
  const server = createServer((incoming, outgoing) => {
    const id = String(incoming.headers[answerHeader.toLowerCase()])
    const answer = answers.get(id)
    answers.delete(id)
    incoming.resume()
    if (!answer) return outgoing.writeHead(404).end()
    const headers = [...withoutFraming(answer.headers), answerHeader, id]
    return outgoing.writeHead(answer.status, headers).end(answer.body)
  })
  const url = `http://127.0.0.1:${await listenOnLoopback(server)}`
  function remember(answer: RawAnswer): string {
    const id = String(count++)
    answers.set(id, answer)
    return id
  }
  return {
    url,
    remember,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
