/** Checks the ports of a start, before data directory, secrets or database are made. */
import { createServer } from 'node:http'
import type { Config } from '../config.ts'
import { listenOn } from './listen.ts'
import { waitForPort } from './notifier-process.ts'

/**
 * Listens for a moment on each port that this start will need.
 * @throws StartError that names the setting of one that is taken or not allowed
 */
export async function checkPorts({ host, port, metrics, notifier }: Config): Promise<void> {
  await checkPort({ host, port, names: { host: 'HOST', port: 'PORT' } })
  if (metrics) await checkPort({ ...metrics, names: { host: 'METRICS_HOST', port: 'METRICS_PORT' } })
  if (!notifier.endpoint) await waitForPort(notifier.port)
}

async function checkPort(address: Parameters<typeof listenOn>[1]) {
  const probe = createServer()
  await listenOn(probe, address)
  await new Promise((resolve) => probe.close(resolve))
}
