/** Upstash's REST protocol, as far as its client uses it: https://upstash.com/docs/redis/features/restapi */
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { createClient } from '@redis/client'
import { listenOnLoopback } from './ports.ts'

export type UpstashFront = Awaited<ReturnType<typeof startUpstashFront>>

export async function startUpstashFront(redisUrl: string) {
  const token = 'a-token-that-only-the-tests-know'
  /** The commands of each call. */
  const calls: string[][][] = []
  const redis = createClient({ url: redisUrl, disableOfflineQueue: true })
  redis.on('error', () => {})
  await redis.connect()

  async function run(command: unknown[]) {
    try {
      return { result: encoded(await redis.sendCommand(command.map(String))) }
    } catch (error) {
      return { error: error instanceof Error ? error.message : String(error) }
    }
  }

  const server = createServer(async (request, response) => {
    const answer = (status: number, body: unknown) => {
      response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
    }
    if (request.headers.authorization !== `Bearer ${token}`) {
      return answer(401, { error: 'WRONGPASS invalid or missing auth token' })
    }
    const body = JSON.parse(await text(request))
    if (request.url === '/pipeline') {
      calls.push(body)
      return answer(200, await Promise.all(body.map(run)))
    }
    calls.push([body])
    const result = await run(body)
    return answer('error' in result ? 400 : 200, result)
  })
  const port = await listenOnLoopback(server)
  return {
    url: `http://127.0.0.1:${port}`,
    token,
    calls,
    close() {
      server.close()
      server.closeAllConnections()
      redis.destroy()
    },
  }
}

/** The encoding for `upstash-encoding: base64`: every string but OK, at any depth. */
function encoded(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(encoded)
  if (typeof value !== 'string' || value === 'OK') return value
  return Buffer.from(value).toString('base64')
}
