/** Runs the notifier as a process beside the API, restarts it when it dies, and stops it with the API. */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventSettings } from '../../config/event-queue.ts'
import { NotificationSettings } from '../../config/notifications.ts'
import { httpOrigin } from '../../core/host.ts'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { tryPort } from '../http/listen.ts'
import { endingOf, killAfter, supervise } from '../process/supervise.ts'
import { credentialsPath, loadOrCreateCredentials, type NotifierCredentials } from './credentials.ts'

type NotifierOptions = {
  /** Path of the bundle dist/notifier.js. */
  entry: string
  port: number
  /** Has the key pair, in `notifier-credentials`. */
  dataDirectory: string
  functionName: string
  region: string
  /** Passed in the environment, since it may have a password. */
  databaseUrl?: string | undefined
  /** The API's own environment, of which the notifier gets a part. */
  environment: Record<string, string | undefined>
  log: Logger
}

export type NotifierProcess = Awaited<ReturnType<typeof startNotifier>>

const host = '127.0.0.1'
/** The notifier of a killed API ends within moments. A restart waits this long for its port. */
const portWaitMs = 5_000
const startWaitMs = 30_000
const stopWaitMs = 1_500

/** The notifier does not get the API's other settings, such as JWT_SECRET. */
const forwardedSettings = new Set([
  'LOG_LEVEL',
  ...Object.keys({ ...NotificationSettings, ...EventSettings }),
])
const forwardedEnvironment =
  /^(PATH|TZ|DATABASE_CA|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|NODE_USE_ENV_PROXY|HTTPS?_PROXY|NO_PROXY|SSL_CERT_\w+|LD_LIBRARY_PATH|SYSTEMROOT)$/i
const isForwarded = (name: string) => forwardedSettings.has(name) || forwardedEnvironment.test(name)

/**
 * Resolves when the notifier answers. Call `stop` after the last delivery.
 * @throws StartError in one line when its port is taken or it does not start
 */
export async function startNotifier(options: NotifierOptions) {
  const { port, log } = options
  const credentials = await loadOrCreateCredentials(credentialsPath(options.dataDirectory))
  await waitForPort(port)

  const launch = () => launchNotifier(options, credentials)
  const endpoint = httpOrigin(host, port)
  const first = launch()
  try {
    await waitUntilAnswering(endpoint, first.child)
  } catch (error) {
    await first.end()
    throw error
  }
  const { stop } = supervise(first, {
    launch: async () => launch(),
    onEnd: (how) => log.warn('notifier died', how),
  })
  return { endpoint, credentials, stop }
}

function launchNotifier(options: NotifierOptions, credentials: NotifierCredentials) {
  const { entry, port, functionName, region, databaseUrl, environment, log } = options
  const child = spawn(process.execPath, [entry], {
    // In its own process group Ctrl-C reaches only the API, which stops the notifier after the last delivery.
    detached: true,
    windowsHide: true,
    stdio: ['pipe', 'inherit', 'inherit'],
    env: {
      ...(databaseUrl !== undefined && { NOTIFIER_DATABASE_URL: databaseUrl }),
      ...Object.fromEntries(Object.entries(environment).filter(([name]) => isForwarded(name))),
      NOTIFIER_HOST: host,
      NOTIFIER_PORT: String(port),
      NOTIFIER_FUNCTION: functionName,
      // The notifier ends when its stdin closes, so also if this process is SIGKILLed.
      NOTIFIER_PARENT_PIPE: '1',
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  })
  log.debug('notifier spawned', { pid: child.pid })
  // Nothing is written to stdin. The exit reports that it closed.
  child.stdin?.on('error', () => {})
  const ended = endingOf(child)
  return {
    child,
    ended,
    end() {
      child.kill('SIGTERM')
      return killAfter(stopWaitMs, ended, () => child.kill('SIGKILL'))
    },
  }
}

const isRunning = ({ pid, exitCode, signalCode }: ChildProcess) =>
  pid && exitCode === null && signalCode === null

/** @throws StartError when the port is still taken after 5 s */
export async function waitForPort(port: number) {
  const deadline = Date.now() + portWaitMs
  for (;;) {
    const code = await tryPort(host, port)
    if (code === undefined) return
    const refuse = (why: string) => new StartError(`NOTIFIER_PORT: ${port} ${why}`)
    if (code !== 'EADDRINUSE') throw refuse(`cannot be opened (${code}); give another port, from 1024 up`)
    if (Date.now() > deadline) throw refuse('is taken by another program; stop that one or give another port')
    await sleep(100)
  }
}

async function waitUntilAnswering(endpoint: string, child: ChildProcess) {
  const deadline = Date.now() + startWaitMs
  while (isRunning(child)) {
    const healthy = await fetch(`${endpoint}/healthz`, { signal: AbortSignal.timeout(1_000) }).then(
      async (response) => (await response.text()) === 'ok',
      () => false,
    )
    if (healthy && isRunning(child)) return
    if (Date.now() > deadline)
      throw new StartError(`the notifier does not answer on ${endpoint} after ${startWaitMs / 1000} s`)
    await sleep(25)
  }
  throw new StartError('the notifier did not start: its own line above says why')
}
