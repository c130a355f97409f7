/** A Redis by TCP, through the package `@redis/client`. */
import type { EventEmitter } from 'node:events'
import { backoffMs } from '../../core/backoff.ts'
import { describeFailure } from '../../core/failure.ts'
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { settleWithin } from '../../core/timeout.ts'
import type { RedisCommands } from './redis-store.ts'

/** How long a start waits for the first connection. Then it goes on without, and the store counts as lost. */
const startWaitMs = 3000
/** When a start warns about an address that does not even refuse. */
const warnAfterMs = 800
/** A connection without any answer for so long is replaced: a server that has vanished does not close it. */
const silenceMs = 4000
/** At most so often a connection is replaced because the server takes no writes. */
const reopenEveryMs = 1000

const clientOptions = {
  name: 'task-api',
  // A command that waits in a queue would miss its time-out and be executed all the same.
  disableOfflineQueue: true,
  commandsQueueMaxLength: 10_000,
  // The client's own time-out makes an AbortSignal for each command: 15 µs. The guard has one, and the
  // watchdog below replaces a connection that does not answer.
  commandOptions: { timeout: 0 },
  // Keeps a firewall or balancer in between from dropping an idle connection.
  pingInterval: 30_000,
  socket: {
    connectTimeout: 2000,
    reconnectStrategy: (retries: number) => backoffMs(retries, { firstMs: 50, longestMs: 1000 }),
  },
}

export type RedisOptions = {
  /** Replaces the connection after so long without a command: a frozen process does not see it close. */
  staleAfterMs?: number
}

/**
 * Resolves when connected, or after 3 s without a connection. Commands reject while there is none; the client
 * keeps reconnecting.
 * @throws StartError when the server refuses the user or the password
 */
export async function connectRedis(
  url: string,
  log: Logger,
  { staleAfterMs = Number.POSITIVE_INFINITY }: RedisOptions = {},
): Promise<RedisCommands & { close(): Promise<void> }> {
  // More code than all the rest: loaded only when needed.
  const { createClient } = await import('./redis-client.ts')
  /** The last failure to connect. A command without a connection only says that there is none. */
  let failure: Error | undefined
  function open() {
    const client = createClient({ ...clientOptions, url })
      // Without a listener a failed attempt would end the process.
      .on('error', (error: Error) => {
        failure = error
        log.debug('redis', errorFields(error))
      })
      .on('ready', () => {
        failure = undefined
      })
    const connected = client.connect()
    connected.catch(() => {})
    return { client, connected }
  }
  let { client, connected } = open()
  try {
    await waitForStart(client, connected, url, log)
  } catch (error) {
    client.destroy()
    throw error
  }

  let waiting = 0
  /** Time of the last answer, or at which the first of the waiting commands was sent; ms since the epoch. */
  let heardAt = Date.now()
  let usedAt = Date.now()
  let reopenedAt = 0

  /** Rejects the commands that wait. */
  function reopen() {
    reopenedAt = Date.now()
    if (client.isOpen) client.destroy()
    ;({ client, connected } = open())
    return connected
  }

  const watchdog = setInterval(() => {
    if (waiting === 0 || Date.now() - heardAt < silenceMs) return
    log.debug('redis does not answer: connecting anew')
    heardAt = Date.now()
    reopen()
  }, 500)
  watchdog.unref()

  let reopening: Promise<unknown> | undefined
  /**
   * Returns a promise only while reconnecting. Otherwise it is synchronous, so that commands of one turn are
   * pipelined.
   */
  function refresh() {
    if (Date.now() - usedAt > staleAfterMs) {
      const opened = reopen().finally(() => {
        if (reopening === opened) reopening = undefined
      })
      opened.catch(() => {})
      reopening = opened
    }
    usedAt = Date.now()
    return reopening
  }

  async function act<T>(command: (on: typeof client) => Promise<T>): Promise<T> {
    const opening = refresh()
    if (opening) await opening
    if (waiting === 0) heardAt = Date.now()
    waiting++
    try {
      return await command(client)
    } catch (error) {
      // A primary that has become a replica keeps its connections; its address may lead elsewhere now.
      const isReadOnly = error instanceof Error && error.message.startsWith('READONLY')
      if (isReadOnly && Date.now() - reopenedAt >= reopenEveryMs) reopen()
      throw failure === undefined ? error : new Error('there is no connection to Redis', { cause: failure })
    } finally {
      waiting--
      heardAt = Date.now()
    }
  }

  const send = (...command: string[]) => act((on) => on.sendCommand(command))
  const script = (name: string, text: string, keys: string[], args: string[]) =>
    send(name, text, String(keys.length), ...keys, ...args)
  return {
    evalsha: (sha, keys, args) => script('EVALSHA', sha, keys, args),
    eval: (text, keys, args) => script('EVAL', text, keys, args),
    mget: (keys) => act((on) => on.mGet(keys)),
    set: (key, value, ttlMs) => send('SET', key, value, 'PX', String(ttlMs)),
    async close() {
      clearInterval(watchdog)
      if (client.isOpen) client.destroy()
    },
  }
}

/** Warns once if no server answers, without the password of the URL. */
async function waitForStart(client: EventEmitter, connected: Promise<unknown>, url: string, log: Logger) {
  let hasWarned = false
  function warn(error?: Error) {
    if (hasWarned) return
    hasWarned = true
    log.warn(
      `REDIS_URL: no Redis answers at ${new URL(url).host}: limits are counted by each process, nothing is cached`,
      error === undefined ? {} : { cause: describeFailure(error) },
    )
  }
  const timer = setTimeout(warn, warnAfterMs)
  let stopListening = () => {}
  const refused = new Promise<never>((_, reject) => {
    const hear = (error: Error) => {
      if (!/^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password))/.test(error.message)) return warn(error)
      reject(new StartError(`REDIS_URL: the server refuses its user or password (${error.message})`))
    }
    client.on('error', hear)
    stopListening = () => client.off('error', hear)
  })
  try {
    await settleWithin(startWaitMs, Promise.race([connected, refused]))
  } finally {
    clearTimeout(timer)
    stopListening()
  }
}
