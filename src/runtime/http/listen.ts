/** Listens on the address of a setting, and names the setting when that fails. */
import type { Server } from 'node:http'
import { createServer } from 'node:net'
import { StartError } from '../../core/start-error.ts'

/** For servers with short requests: a connection without a complete request after 5 s is closed. */
export const shortRequests = {
  headersTimeout: 5000,
  requestTimeout: 5000,
  connectionsCheckingInterval: 500,
}

export type Address = {
  host: string
  port: number
  /** The names of the two settings. */
  names: { host: string; port: string }
}

/**
 * Resolves with the port, which the system chooses for 0.
 * @throws StartError that names the setting to change
 */
export async function listenOn(server: Server, wanted: Address): Promise<number> {
  const { host, port } = wanted
  await new Promise<void>((resolve, reject) => {
    server.once('error', ({ code }: NodeJS.ErrnoException) => reject(cannotListen(wanted, code)))
    server.listen(port, host, resolve)
  })
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : port
}

export function cannotListen({ host, port, names }: Address, code = ''): StartError {
  const reasons: Record<string, string> = {
    EADDRINUSE: `${names.port}: ${port} on ${host} is taken by another program; stop that one or give another port`,
    EACCES: `${names.port}: ${port} may not be used by this user; give a port from 1024 on`,
  }
  const otherwise = `${names.host}: cannot listen on "${host}" (${code}); give an address of this machine such as 127.0.0.1`
  return new StartError(reasons[code] ?? otherwise)
}

/** Listens for a moment. Returns the error's code, or undefined when the port is free. */
export function tryPort(host: string, port: number) {
  return new Promise<string | undefined>((resolve) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    probe.listen(port, host, () => probe.close(() => resolve(undefined)))
  })
}
