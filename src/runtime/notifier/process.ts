/** Runs the notifier as a process beside the API: starts it, starts it again when it dies, and never leaves it behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventSettings } from '../../config/event-queue.ts'
import { NotificationSettings } from '../../config/notifications.ts'
import { httpOrigin } from '../../core/host.ts'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { tryPort } from '../http/listen.ts'
import { endingOf, killAfter, supervise } from '../process/supervise.ts'
import { credentialsPath, keepCredentials, type NotifierCredentials } from './credentials.ts'

type NotifierOptions = {
  /** Path of the bundled entry, dist/notifier.js. */
  entry: string
  port: number
  /** Where the key pair is kept, in `notifier-credentials`. */
  dataDirectory: string
  functionName: string
  region: string
  /** Where it keeps its queue; a password in it is handed over in the environment, and shown nowhere. */
  databaseUrl?: string | undefined
  /** The API's own environment; only what the notifier is meant to see is handed on. */
  environment: Record<string, string | undefined>
  log: Logger
}

export type NotifierProcess = {
  /** For `createLambdaClient`. */
  endpoint: string
  credentials: NotifierCredentials
  /** Resolves when the process has ended. Call it once the last event is delivered. */
  stop(): Promise<void>
}

const host = '127.0.0.1'
/** The notifier of an API that was just killed notices within moments; so long a restart waits for its port. */
const portWaitMs = 5_000
const startWaitMs = 30_000
const stopWaitMs = 1_500

/** The notifier does not get the API's other settings, such as JWT_SECRET. */
const forwardedSettings = new Set([
  ...Object.keys(NotificationSettings),
  ...Object.keys(EventSettings),
  'LOG_LEVEL',
])
const forwardedEnvironment =
  /^(PATH|TZ|DATABASE_CA|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|NODE_USE_ENV_PROXY|HTTPS?_PROXY|NO_PROXY|SSL_CERT_\w+|LD_LIBRARY_PATH|SYSTEMROOT)$/i
const isForwarded = (name: string) => forwardedSettings.has(name) || forwardedEnvironment.test(name)

/**
 * Resolves when the notifier answers.
 * @throws StartError in one line when its port is taken, or when it doesn't come up.
 */
export async function startNotifier(options: NotifierOptions): Promise<NotifierProcess> {
  const { port, log } = options
  const credentials = await keepCredentials(credentialsPath(options.dataDirectory))
  await waitForPort(port)

  const launch = () => {
    const notifier = launchNotifier(options, credentials)
    log.debug('notifier spawned', { pid: notifier.child.pid })
    return notifier
  }

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

function launchNotifier(
  { entry, port, functionName, region, databaseUrl, environment }: NotifierOptions,
  credentials: NotifierCredentials,
) {
  const child = spawn(process.execPath, ['--enable-source-maps', entry], {
    // A group of its own: Ctrl-C in a terminal reaches the API alone, which stops the notifier when the last event is out.
    detached: true,
    windowsHide: true,
    stdio: ['pipe', 'inherit', 'inherit'],
    env: {
      ...(databaseUrl !== undefined && { NOTIFIER_DATABASE_URL: databaseUrl }),
      ...Object.fromEntries(Object.entries(environment).filter(([name]) => isForwarded(name))),
      NOTIFIER_HOST: host,
      NOTIFIER_PORT: String(port),
      NOTIFIER_FUNCTION: functionName,
      // The pipe on its stdin ends when this process does, even by SIGKILL: so no orphan remains.
      NOTIFIER_PARENT_PIPE: '1',
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    },
  })
  // Nothing is ever written to it; its breaking is told by the exit.
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

const isRunning = (child: ChildProcess) =>
  child.pid !== undefined && child.exitCode === null && child.signalCode === null

/**
 * Resolves when the notifier can listen on the port, for which the one of a killed API may need a moment.
 * @throws StartError after 5 s
 */
export async function waitForPort(port: number) {
  const deadline = Date.now() + portWaitMs
  for (;;) {
    const code = await tryPort(host, port)
    if (code === undefined) return
    if (code === 'EADDRINUSE' && Date.now() < deadline) await sleep(100)
    else if (code === 'EADDRINUSE')
      throw new StartError(
        `NOTIFIER_PORT: ${port} is taken by another program; stop that one or give another port`,
      )
    else
      throw new StartError(
        `NOTIFIER_PORT: ${port} cannot be opened (${code}); give another port, from 1024 up`,
      )
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
