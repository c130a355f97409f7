/** Checks the ports that a start needs, before it creates anything. */
import { createSocket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import { connect } from 'node:net'
import type { Config } from '../../config/api.ts'
import { waitForPort } from '../notifier/process.ts'
import { type Address, cannotListen } from './listen.ts'

/** Programs on this machine answer at once. The server's own attempt to listen decides about slower ones. */
const connectMs = 1000

/**
 * Never listens on a port that clients know: a client that connects at that moment would be cut off, and a
 * proxy in front of a restarting instance connects all the time.
 * @throws StartError that names the setting of one that is taken or not allowed
 */
export async function checkPorts({ host, port, metrics, notifier }: Config): Promise<string> {
  await checkPort({ host, port, names: { host: 'HOST', port: 'PORT' } })
  if (metrics) await checkPort({ ...metrics, names: { host: 'METRICS_HOST', port: 'METRICS_PORT' } })
  if (!notifier.endpoint) await waitForPort(notifier.port)
  return 'free'
}

async function checkPort(address: Address) {
  if (address.port === 0) return
  const code = (await bindCode(address)) ?? ((await isAnswered(address)) ? 'EADDRINUSE' : undefined)
  if (code) throw cannotListen(address, code)
}

/** Tries the address with a UDP socket, which needs the same rights, and which no client uses. */
async function bindCode({ host, port }: Address): Promise<string | undefined> {
  // Resolves a name as the server will.
  const found = await lookup(host).catch(({ code }: NodeJS.ErrnoException) => code ?? 'ENOTFOUND')
  if (typeof found === 'string') return found
  return new Promise((resolve) => {
    const socket = createSocket(found.family === 6 ? 'udp6' : 'udp4')
    socket.once('error', ({ code }: NodeJS.ErrnoException) => {
      socket.close()
      // Taken over UDP, which is no obstacle.
      resolve(code === 'EADDRINUSE' ? undefined : code)
    })
    socket.bind({ address: found.address, port, exclusive: true }, () =>
      socket.close(() => resolve(undefined)),
    )
  })
}

/** Whether a program answers there. A connection to 0.0.0.0 or :: goes to this machine. */
function isAnswered({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: connectMs })
    const settle = (answered: boolean) => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => settle(true))
    for (const event of ['error', 'timeout']) socket.once(event, () => settle(false))
  })
}
