/** HTTP for the proxies of tests, with exactly the given headers in their order. */
import { Agent, request } from 'node:http'
import { buffer } from 'node:stream/consumers'

/** Names and values alternate, as in node:http. */
export type RawHeaders = string[]
export type RawRequest = { method: string; path: string; headers: RawHeaders; body: Buffer }
export type RawAnswer = { status: number; headers: RawHeaders; body: Buffer }

/** Bounds the concurrent requests of a proxy. */
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

export function ask(baseUrl: string, { method, path, headers, body }: RawRequest): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(baseUrl)
    const outgoing = request({ agent, hostname, port, method, path, headers }, (incoming) => {
      const { statusCode: status = 0, rawHeaders } = incoming
      buffer(incoming).then((body) => resolve({ status, headers: rawHeaders, body }), reject)
    })
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}

export const pairsOf = (headers: RawHeaders): [name: string, value: string][] =>
  headers.flatMap((name, index) => (index % 2 === 0 ? [[name.toLowerCase(), headers[index + 1] ?? '']] : []))

export const headerOf = (headers: RawHeaders, name: string): string | undefined =>
  pairsOf(headers).find(([each]) => each === name.toLowerCase())?.[1]

const ofTheMessage = /^(connection|keep-alive|transfer-encoding|content-length|expect|host)$/

/** Removes headers that are wrong with another body or on another connection. */
export const withoutFraming = (headers: RawHeaders): RawHeaders =>
  pairsOf(headers)
    .filter(([name]) => !ofTheMessage.test(name))
    .flat()
