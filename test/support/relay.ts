/** A TCP relay between clients and a server. */
import { connect, createServer, type Socket } from 'node:net'
import { listenOnLoopback } from './ports.ts'

type Address = { port: number; host?: string }
/** Each sees a chunk before it is passed on; the chunk is dropped if it returns false. */
type Hooks = { fromClient?(chunk: Buffer): unknown; fromServer?(chunk: Buffer): unknown }

/** @param hook is called for each connection, which is refused if it returns undefined */
export async function startRelay(
  server: Address | (() => Address),
  hook: (client: Socket) => Hooks | undefined = () => ({}),
) {
  const sockets = new Set<Socket>()
  function pass(from: Socket, to: Socket, see: Hooks['fromClient'] = () => true) {
    sockets.add(from)
    from.on('data', (chunk) => see(chunk) === false || to.write(chunk))
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      to.destroySoon()
    })
  }
  const relay = createServer((client) => {
    const hooks = hook(client)
    if (!hooks) return void client.destroy()
    const { port, host = '127.0.0.1' } = typeof server === 'function' ? server() : server
    const upstream = connect(port, host)
    pass(client, upstream, hooks.fromClient)
    pass(upstream, client, hooks.fromServer)
  })
  return {
    port: await listenOnLoopback(relay),
    close() {
      for (const socket of sockets) socket.destroy()
      relay.close()
    },
  }
}
