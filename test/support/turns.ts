/** Stands between a client and a server and counts the client's turns: what it sends after it has been answered. */
import { connect, createServer } from 'node:net'
import { listenOnLoopback } from './ports.ts'

export async function startTurnCounter(serverPort: number) {
  let turns = 0
  const server = createServer((client) => {
    const upstream = connect(serverPort, '127.0.0.1')
    let answered = true
    client.on('data', (chunk) => {
      if (answered) turns++
      answered = false
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      answered = true
      client.write(chunk)
    })
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('close', () => other.destroy())
      one.on('error', () => other.destroy())
    }
  })
  const port = await listenOnLoopback(server)
  return { port, turns: () => turns, close: () => server.close() }
}
