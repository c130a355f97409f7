/** Stands between clients and a server on this machine, and hands what each says to the other. */
import { connect, createServer } from 'node:net'
import { listenOnLoopback } from './ports.ts'

type Ears = { fromClient(chunk: Buffer): void; fromServer(chunk: Buffer): void }

/** @param listen makes the ears of one connection, which hear everything before it is handed on */
export async function startRelay(server: { port: number; host?: string }, listen: () => Ears) {
  const relay = createServer((client) => {
    const upstream = connect(server.port, server.host ?? '127.0.0.1')
    const { fromClient, fromServer } = listen()
    client.on('data', (chunk) => {
      fromClient(chunk)
      upstream.write(chunk)
    })
    upstream.on('data', (chunk) => {
      fromServer(chunk)
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
  return { port: await listenOnLoopback(relay), close: () => relay.close() }
}
