/** An address that leads to one server now and to another later, as a name does whose entry changes: connections stay where they are. */
import { connect, createServer } from 'node:net'
import { listenOnLoopback } from './ports.ts'

/** @param first a port on 127.0.0.1 */
export async function startTcpSwitch(first: number) {
  let target = first
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.pipe(other)
      one.on('close', () => other.destroy())
      one.on('error', () => other.destroy())
    }
  })
  return {
    port: await listenOnLoopback(server),
    leadTo(port: number) {
      target = port
    },
    close: () => server.close(),
  }
}
