/** A Redis by TCP, through the package `redis`. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient } from 'redis'
import { errorFields, type Logger } from '../log.ts'
import { StartError } from '../start-error.ts'
import type { RedisCommands } from './redis-store.ts'

/** A start waits so long for the first connection; then it goes on without, and the store counts as lost. */
const startWaitMs = 3000
/** A connection over which nothing comes for so long is made anew: a server that has vanished sends no goodbye. */
const silenceMs = 5000

/**
 * Resolves when connected, or when a server that is away has been waited for. Commands reject while there is no connection; it is made
 * anew for as long as it takes.
 * @throws StartError when the server refuses the user or the password
 */
export async function connectRedis(
  url: string,
  log: Logger,
): Promise<RedisCommands & { close(): Promise<void> }> {
  const client = createClient({
    url,
    name: 'task-api',
    // Waiting in a queue, a command would miss its deadline and be counted all the same.
    disableOfflineQueue: true,
    pingInterval: silenceMs / 2,
    socket: {
      connectTimeout: 2000,
      socketTimeout: silenceMs,
      reconnectStrategy: (retries) => Math.min(50 * 2 ** retries, 1000),
    },
  })
  const refused = new Promise<never>((_, reject) => {
    client.on('error', (error: Error) => {
      log.debug('redis', errorFields(error))
      if (isRefusal(error))
        reject(new StartError(`REDIS_URL: the server refuses its user or password (${error.message})`))
    })
  })
  // Nobody waits any more for what comes after the start.
  refused.catch(() => {})
  const connected = client.connect()
  connected.catch(() => {})
  try {
    await Promise.race([connected, refused, sleep(startWaitMs, undefined, { ref: false })])
  } catch (error) {
    client.destroy()
    throw error
  }
  const send = (command: string[]) => client.sendCommand(command)
  const script = (name: string, text: string, keys: string[], args: string[]) =>
    send([name, text, String(keys.length), ...keys, ...args])
  return {
    evalsha: (sha, keys, args) => script('EVALSHA', sha, keys, args),
    eval: (text, keys, args) => script('EVAL', text, keys, args),
    mget: (keys) => client.mGet(keys),
    set: (key, value, ttlMs) => send(['SET', key, value, 'PX', String(ttlMs)]),
    ping: () => send(['PING']),
    async close() {
      client.destroy()
    },
  }
}

const isRefusal = ({ message }: Error) =>
  /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password))/.test(message)
