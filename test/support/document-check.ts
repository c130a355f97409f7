/**
 * A proxy that forwards requests and answers unchanged and sends copies of both through Prism, so that Prism
 * neither refuses nor rewrites what tests see.
 */
import { createServer } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { listenOnLoopback } from './ports.ts'
import { startPrism, type Violation } from './prism.ts'
import { ask, type RawAnswer, type RawRequest } from './raw-http.ts'

export async function startDocumentCheck(apiUrl: string) {
  const prism = await startPrism(apiUrl)
  await expectViolations(prism)
  const found = new Map<string, string>()
  const checks: Promise<void>[] = []
  let accepted = 0

  async function check(request: RawRequest, answer: RawAnswer) {
    const isAccepted = answer.status < 400
    if (isAccepted) accepted++
    for (const violation of await prism.check(isAccepted ? request : readable(request), answer)) {
      if (isAccepted || violation.location[0] === 'response') note(request, answer, violation)
    }
  }

  function note({ method, path, body }: RawRequest, answer: RawAnswer, { location, message }: Violation) {
    const operation = `${method} ${path.replace(/\?.*/, '').replace(/\d+/g, '{id}')}`
    const example = `${path} ${body} was answered ${answer.status} ${answer.body}`
    found.set(`${operation}: ${location.join('.')}: ${message}`, example.slice(0, 1000))
  }

  const server = createServer(async (incoming, outgoing) => {
    try {
      const { method = '', url: path = '', rawHeaders: headers } = incoming
      const request = { method, path, headers, body: await buffer(incoming) }
      const answer = await ask(apiUrl, request)
      outgoing.writeHead(answer.status, answer.headers).end(answer.body)
      if (isDocumented(request)) checks.push(check(canonical(request), answer))
    } catch {
      // The client or the API has gone away.
      outgoing.destroy()
    }
  })

  // The API's Keep-Alive header promises it.
  server.keepAliveTimeout = 70_000

  /** Waits for the remaining checks, then reports contradictions of the document. */
  async function stop() {
    server.close()
    server.closeAllConnections()
    await Promise.all(checks)
    await prism.stop()
    console.log(`Prism has seen ${checks.length} answers, to ${accepted} requests that were accepted`)
    if (found.size === 0) return
    // Vitest ignores an error that is thrown here.
    process.exitCode = 1
    console.error('What contradicts the OpenAPI document:')
    for (const [violation, example] of found) console.error(`${violation}\n    ${example}`)
  }
  return { baseUrl: `http://127.0.0.1:${await listenOnLoopback(server)}`, stop }
}

/** The document does not describe HEAD, OPTIONS and the reference page. */
const isDocumented = ({ method, path }: RawRequest) =>
  method !== 'HEAD' && method !== 'OPTIONS' && !/^\/docs([/?]|$)/.test(path)

/** Only the answer of a refused request is checked: Prism crashes on some media types and paths. */
const readable = ({ method, path }: RawRequest): RawRequest => ({
  method,
  path: path.replaceAll('%', '-'),
  headers: [],
  body: Buffer.alloc(0),
})

const byteOrderMark = Buffer.from('\ufeff')

/**
 * The document has paths with the last slash, which is optional. Prism knows neither a byte order mark in
 * JSON nor `BEARER`, though the case of a scheme does not matter (RFC 9110 section 11.1).
 */
const canonical = ({ path, headers, body, ...rest }: RawRequest): RawRequest => ({
  ...rest,
  headers: headers.map((text) => text.replace(/^bearer /i, 'Bearer ')),
  path: path.replace(/^(\/api\/[^?]*[^?/])(\?|$)/, '$1/$2'),
  body: body.subarray(0, 3).equals(byteOrderMark) ? body.subarray(3) : body,
})

/** Proves that Prism checks both sides. */
async function expectViolations({ check }: Awaited<ReturnType<typeof startPrism>>) {
  const headers = ['Content-Type', 'application/json', 'Authorization', 'Bearer x']
  const [method, path] = ['PATCH', '/api/tasks/1/']
  const request = { method, path, headers, body: Buffer.from('{"status":1}') }
  const violations = await check(request, { status: 200, headers, body: Buffer.from('{"id":"1"}') })
  for (const side of ['request', 'response']) {
    if (!violations.some(({ location }) => location.join('.').startsWith(`${side}.body`)))
      throw new Error(`Prism does not look at the body of the ${side}: ${JSON.stringify(violations)}`)
  }
}
