/** A Redis by TCP, through the package `redis`. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describeFailure } from '../../core/failure.ts'
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import type { RedisCommands } from './redis-store.ts'

/** A start waits so long for the first connection; then it goes on without, and the store counts as lost. */
const startWaitMs = 3000
/** An address that does not even refuse is told of after so long. */
const toldAfterMs = 800
/** A connection on which commands wait for so long without any answer is made anew: a server that has vanished sends no goodbye. */
const silenceMs = 4000
/** A server that takes no writes (any more) is left for the one that the address leads to now, at most so often. */
const reopenEveryMs = 1000

const clientOptions = {
  name: 'task-api',
  // Waiting in a queue, a command would miss its deadline and be counted all the same.
  disableOfflineQueue: true,
  commandsQueueMaxLength: 10_000,
  // Keeps what lies between from forgetting a connection that is seldom used.
  pingInterval: 30_000,
  socket: {
    connectTimeout: 2000,
    reconnectStrategy: (retries: number) => Math.min(50 * 2 ** retries, 1000),
  },
}

export type RedisOptions = {
  /**
   * After so long without a command the connection is made anew before the next one: for a process that is frozen in
   * between, and does not see it close.
   */
  staleAfterMs?: number
}

/**
 * Resolves when connected, or when a server that is away has been waited for. Commands reject while there is no connection;
 * it is made anew for as long as it takes.
 * @throws StartError when the server refuses the user or the password
 */
export async function connectRedis(
  url: string,
  log: Logger,
  { staleAfterMs = Number.POSITIVE_INFINITY }: RedisOptions = {},
): Promise<RedisCommands & { close(): Promise<void> }> {
  // Half of a bundle's code, where it is in one, and of a start: only where it is used.
  const { createClient } = await import('redis')
  /** Why the last try to connect has failed: a command without a connection only says that there is none. */
  let failure: Error | undefined
  const open = () =>
    createClient({ ...clientOptions, url })
      // Each try that fails; without a listener it would end the process.
      .on('error', (error: Error) => {
        failure = error
        log.debug('redis', errorFields(error))
      })
      .on('ready', () => {
        failure = undefined
      })
  let client = open()
  const connected = client.connect()
  connected.catch(() => {})
  const tellIfAway = watchStart(client, url, log)
  try {
    await Promise.race([connected, refusal(client), sleep(startWaitMs, undefined, { ref: false })])
  } catch (error) {
    client.destroy()
    throw error
  } finally {
    tellIfAway.stop()
  }

  let waiting = 0
  /** When the last answer came, or the first of those that wait was sent; ms since the epoch. */
  let heardAt = Date.now()
  let usedAt = Date.now()

  let reopenedAt = 0
  /** Rejects whatever waits. */
  function reopen() {
    reopenedAt = Date.now()
    if (client.isOpen) client.destroy()
    client = open()
    const reconnected = client.connect()
    reconnected.catch(() => {})
    return reconnected
  }

  const watchdog = setInterval(() => {
    if (waiting === 0 || Date.now() - heardAt < silenceMs) return
    log.debug('redis does not answer: connecting anew')
    heardAt = Date.now()
    reopen()
  }, 500)
  watchdog.unref()

  /** The connection to use; a promise only where it is being made anew: what is given in one turn is to be sent in one. */
  let fresh: Promise<unknown> | undefined
  function refresh() {
    if (Date.now() - usedAt > staleAfterMs) {
      const opened = reopen().finally(() => {
        if (fresh === opened) fresh = undefined
      })
      opened.catch(() => {})
      fresh = opened
    }
    usedAt = Date.now()
    return fresh
  }

  async function act<T>(command: (on: typeof client) => Promise<T>): Promise<T> {
    const opening = refresh()
    if (opening) await opening
    if (waiting === 0) heardAt = Date.now()
    waiting++
    try {
      return await command(client)
    } catch (error) {
      if (isReadOnly(error) && Date.now() - reopenedAt >= reopenEveryMs) reopen()
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

/** Says once, while the start waits, that nobody answers at the address; the password in it stays unsaid. */
function watchStart(client: NodeJS.EventEmitter, url: string, log: Logger) {
  const tell = (error?: Error) => {
    stop()
    if (error && isRefusal(error)) return
    log.warn(
      `REDIS_URL: no Redis answers at ${new URL(url).host}: limits are counted by each process, nothing is cached`,
      error === undefined ? {} : { cause: describeFailure(error) },
    )
  }
  const timer = setTimeout(tell, toldAfterMs)
  function stop() {
    clearTimeout(timer)
    client.off('error', tell)
  }
  client.once('error', tell)
  client.once('ready', stop)
  return { stop }
}

/** A primary that has become a replica keeps its connections. */
const isReadOnly = (error: unknown) => error instanceof Error && error.message.startsWith('READONLY')

const isRefusal = ({ message }: Error) =>
  /^(WRONGPASS|NOAUTH|NOPERM|ERR (AUTH|invalid password))/.test(message)

/** Rejects when the server refuses the user or the password. */
function refusal(client: NodeJS.EventEmitter): Promise<never> {
  const refused = new Promise<never>((_, reject) => {
    client.on('error', (error: Error) => {
      if (isRefusal(error))
        reject(new StartError(`REDIS_URL: the server refuses its user or password (${error.message})`))
    })
  })
  // Nobody waits any more for what comes after the start.
  refused.catch(() => {})
  return refused
}
