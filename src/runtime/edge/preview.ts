/** Both Workers under `wrangler dev`, which runs them on workerd as the edge does. */
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { startProcessGroup } from './process-group.ts'

type PreviewOptions = {
  packageRoot: string
  /** What wrangler keeps, its logs among it, goes here. */
  stateDirectory: string
  host: string
  port: number
  /** In the place of Hyperdrive's; reached by TCP. */
  databaseUrl: string
  /** Variables and secrets of both Workers. */
  variables: Record<string, string>
  /** This process's own; only what wrangler needs of it is handed on. */
  environment: Record<string, string | undefined>
  log: Logger
}

export type EdgePreview = {
  url: string
  /** Resolves with the reason when the preview can serve no more. */
  failed: Promise<string>
  stop(): Promise<void>
}

const startWaitMs = 120_000
/** As the cron trigger in wrangler.toml has it, which wrangler dev does not fire. */
const cronEveryMs = 60_000
const cronTimeoutMs = 55_000
const lookEveryMs = 1000

const forwardedEnv =
  /^(PATH|HOME|TZ|TERM|TMPDIR|COLORTERM|NO_COLOR|FORCE_COLOR|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|NODE_USE_ENV_PROXY|HTTPS?_PROXY|NO_PROXY|SSL_CERT_\w+|LD_LIBRARY_PATH|SYSTEMROOT)$/i

/**
 * Resolves when the API answers, and calls its scheduled handler at once and every minute from then on.
 * @throws StartError when wrangler ends before
 */
export async function startEdgePreview(options: PreviewOptions): Promise<EdgePreview> {
  const { host, port, log } = options
  const output = createOutput()
  const group = startProcessGroup(wranglerCommand(options), {
    cwd: options.packageRoot,
    env: wranglerEnvironment(options),
    print: output.print,
  })
  const stopping = new AbortController()
  const { signal } = stopping
  const url = urlOf(host, port)
  // Where it listens everywhere it is looked for here.
  const near = urlOf(host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host, port)
  const ended = group.exited.then((ending) => `wrangler dev ended (${ending})`)
  const stop = async () => {
    stopping.abort()
    await group.end()
  }
  try {
    await Promise.race([
      untilAnswering(near, signal),
      ended.then((reason) => {
        throw new StartError(`${reason}: its own lines above say why`)
      }),
    ])
  } catch (error) {
    await stop()
    output.release()
    throw error
  }
  output.forget()
  fireCron(near, signal, log)
  return { url, failed: Promise.race([ended, untilRefused(near, signal)]), stop }
}

function wranglerCommand({ packageRoot, stateDirectory, host, port }: PreviewOptions): [string, ...string[]] {
  return [
    process.execPath,
    join(packageRoot, 'node_modules/wrangler/bin/wrangler.js'),
    'dev',
    ...['-c', 'wrangler.toml', '-c', 'workers/notifier/wrangler.toml'],
    ...['--ip', host, '--port', String(port), '--inspector-port', '0'],
    ...['--persist-to', join(stateDirectory, 'state'), '--log-level', 'log', '--test-scheduled'],
    // An empty file: nothing but the environment below counts, neither .dev.vars nor .env.
    ...['--env-file', '/dev/null', '--show-interactive-dev-session=false'],
  ]
}

/** Variables travel in the environment, which other users cannot see, as they can a command line. */
function wranglerEnvironment({ stateDirectory, databaseUrl, variables, environment }: PreviewOptions) {
  return {
    ...Object.fromEntries(Object.entries(environment).filter(([name]) => forwardedEnv.test(name))),
    ...variables,
    CLOUDFLARE_INCLUDE_PROCESS_ENV: 'true',
    CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE: databaseUrl,
    // No other wrangler on this machine takes the place of one of the two, and no user's home is needed.
    WRANGLER_REGISTRY_PATH: join(stateDirectory, 'registry'),
    XDG_CONFIG_HOME: stateDirectory,
    WRANGLER_LOG_PATH: join(stateDirectory, 'logs'),
    WRANGLER_SEND_METRICS: 'false',
    WRANGLER_SEND_ERROR_REPORTS: 'false',
    // With the banner goes the look for a newer version.
    WRANGLER_HIDE_BANNER: 'true',
    X_LOCAL_EXPLORER: 'false',
  }
}

/**
 * What the Workers log is printed as they wrote it. What wrangler says besides is kept back while it starts, lists of variables
 * and advice for the most part, and shown when it does not come up. From then on only its line for each request is left out,
 * as the API logs its own.
 */
function createOutput() {
  let kept: string[] | undefined = []
  const write = (line: string) => console.log(line)
  return {
    print(line: string) {
      const logged = /^(?:\[[^\]]*\] )?(\{.*\})$/.exec(line)?.[1]
      if (logged) write(logged)
      else if (kept) kept.push(line)
      else if (!line.startsWith('[wrangler:info]')) write(line)
    },
    release() {
      kept?.forEach(write)
      kept = undefined
    },
    forget() {
      kept = undefined
    },
  }
}

async function untilAnswering(url: string, signal: AbortSignal) {
  const deadline = Date.now() + startWaitMs
  while (!signal.aborted) {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
    await answer?.text().catch(() => {})
    if (answer?.ok) return
    if (Date.now() > deadline)
      throw new StartError(`wrangler dev does not answer on ${url} after ${startWaitMs / 1000} s`)
    await sleep(100, undefined, { signal }).catch(() => {})
  }
}

/** wrangler does not notice when the workerd dies that listens for it. */
async function untilRefused(url: string, signal: AbortSignal): Promise<string> {
  let refused = 0
  while (!signal.aborted) {
    await sleep(lookEveryMs, undefined, { signal }).catch(() => {})
    refused = (await isRefused(url)) ? refused + 1 : 0
    if (refused === 3) return `nothing listens on ${url} any more`
  }
  return 'stopped'
}

function isRefused(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname.replace(/^\[|\]$/g, ''))
    socket
      .once('connect', () => resolve(false))
      .once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
      .once('connect', () => socket.destroy())
  })
}

async function fireCron(url: string, signal: AbortSignal, log: Logger) {
  while (!signal.aborted) {
    const begun = Date.now()
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(cronTimeoutMs)])
      const answer = await fetch(`${url}/__scheduled`, { signal: limit })
      const text = await answer.text()
      if (!answer.ok) log.warn('the scheduled handler failed', { status: answer.status, answer: text })
    } catch (error) {
      if (!signal.aborted) log.warn('the scheduled handler did not answer', errorFields(error))
    }
    await sleep(Math.max(0, begun + cronEveryMs - Date.now()), undefined, { signal }).catch(() => {})
  }
}

const urlOf = (host: string, port: number) => `http://${host.includes(':') ? `[${host}]` : host}:${port}`
