/**
 * An address that leads to one server now and to another later, like a changed DNS entry. Connections stay.
 */
import { startRelay } from './relay.ts'

/** @param first a port on 127.0.0.1 */
export async function startTcpSwitch(first: number) {
  let target = first
  const relay = await startRelay(() => ({ port: target }))
  return {
    ...relay,
    leadTo(port: number) {
      target = port
    },
  }
}
