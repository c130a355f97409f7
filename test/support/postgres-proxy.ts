/** A relay to Postgres that records the executed statements. */
import { startRelay } from './relay.ts'

/** @param serverUrl a postgres:// URL by TCP, without TLS */
export async function startPostgresProxy(serverUrl: string) {
  const executed: string[] = []
  const target = new URL(serverUrl)
  const relay = await startRelay({ host: target.hostname, port: Number(target.port) }, () => ({
    fromClient: noteStatements(executed),
  }))
  const url = new URL(serverUrl)
  url.port = String(relay.port)
  return {
    url: url.href,
    /** The text of each, in order. */
    executed,
    close: relay.close,
  }
}

const tlsRequest = 80877103

/**
 * Reads the client's messages (PostgreSQL documentation, 53.7 Message Formats): Parse names a text, Bind
 * makes it a portal, Execute runs the portal; Query does all at once.
 */
function noteStatements(executed: string[]) {
  const texts = new Map<string, string>()
  const portals = new Map<string, string>()
  let pending = Buffer.alloc(0)
  let started = false
  return (chunk: Buffer) => {
    pending = Buffer.concat([pending, chunk])
    for (;;) {
      // Only the start-up message has no type. Before it a client may ask for TLS, which is refused.
      const header = started ? 1 : 0
      if (pending.length < header + 4) return
      const length = header + pending.readInt32BE(header)
      if (pending.length < length) return
      const message = pending.subarray(0, length)
      pending = pending.subarray(length)
      if (started) read(String.fromCharCode(message[0] ?? 0), message.subarray(5))
      started ||= message.readInt32BE(4) !== tlsRequest
    }
  }

  function read(type: string, body: Buffer) {
    const [first = '', second = ''] = body.toString('utf8').split('\0')
    if (type === 'P') texts.set(first, second)
    if (type === 'B') portals.set(first, texts.get(second) ?? '')
    if (type === 'E') executed.push(portals.get(first) ?? '')
    if (type === 'Q') executed.push(first)
  }
}
