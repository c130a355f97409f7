/** Runs the API and notifier Workers under `wrangler dev`, on Cloudflare's workerd. */
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { httpOrigin, localAddress } from '../../core/host.ts'
import { errorFields, type Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { startBoundChild } from '../process/bound-child.ts'

type PreviewOptions = {
  packageRoot: string
  /** Where wrangler keeps its state and its logs. */
  stateDirectory: string
  host: string
  port: number
  /** Takes the place of Hyperdrive's; reached by TCP. */
  databaseUrl: string
  /** Variables and secrets of both Workers. */
  variables: Record<string, string>
  log: Logger
}

const startWaitMs = 120_000
/** The schedule of the cron trigger in wrangler.toml, which wrangler dev does not fire. */
const cronEveryMs = 60_000
const cronTimeoutMs = 55_000

const forwardedEnv =
  /^(PATH|HOME|TZ|TERM|TMPDIR|COLORTERM|NO_COLOR|FORCE_COLOR|NODE_OPTIONS|NODE_EXTRA_CA_CERTS|NODE_USE_ENV_PROXY|HTTPS?_PROXY|NO_PROXY|SSL_CERT_\w+|LD_LIBRARY_PATH|SYSTEMROOT)$/i

/**
 * Resolves when the API answers. Calls its scheduled handler at once, and every minute from then on. `failed`
 * resolves with the reason when wrangler ends.
 * @throws StartError when wrangler does not come up
 */
export async function startEdgePreview(options: PreviewOptions) {
  const { host, port, log, packageRoot } = options
  const wrangler = startBoundChild(wranglerCommand(options), {
    cwd: packageRoot,
    env: wranglerEnvironment(options),
    output: 'pipe',
    endsGroup: true,
  })
  const output = printOutput([wrangler.child.stdout, wrangler.child.stderr])
  const stopping = new AbortController()
  const stop = async () => {
    stopping.abort()
    await wrangler.end()
  }
  const failed = wrangler.exited.then(() => 'wrangler dev ended')
  const localUrl = httpOrigin(localAddress(host), port)
  try {
    await untilAnswering(localUrl, wrangler)
  } catch (error) {
    await stop()
    output.showHeld()
    throw error
  }
  output.dropHeld()
  fireCron(localUrl, stopping.signal, log)
  return { url: httpOrigin(host, port), failed, stop }
}

function wranglerCommand({ packageRoot, stateDirectory, host, port }: PreviewOptions): [string, ...string[]] {
  return [
    process.execPath,
    join(packageRoot, 'node_modules/wrangler/bin/wrangler.js'),
    'dev',
    ...['-c', 'wrangler.toml', '-c', 'workers/notifier/wrangler.toml'],
    ...['--ip', host, '--port', String(port), '--inspector-port', '0'],
    ...['--persist-to', join(stateDirectory, 'state'), '--log-level', 'log', '--test-scheduled'],
    // An empty file, so that neither .dev.vars nor .env is read.
    ...['--env-file', '/dev/null', '--show-interactive-dev-session=false'],
  ]
}

/** Variables travel in the environment: other users can see a command line. */
function wranglerEnvironment({ stateDirectory, databaseUrl, variables }: PreviewOptions) {
  return {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => forwardedEnv.test(name))),
    ...variables,
    CLOUDFLARE_INCLUDE_PROCESS_ENV: 'true',
    CLOUDFLARE_HYPERDRIVE_LOCAL_CONNECTION_STRING_HYPERDRIVE: databaseUrl,
    // Separate from every other wrangler on this machine, and independent of the user's home.
    WRANGLER_REGISTRY_PATH: join(stateDirectory, 'registry'),
    XDG_CONFIG_HOME: stateDirectory,
    WRANGLER_LOG_PATH: join(stateDirectory, 'logs'),
    WRANGLER_SEND_METRICS: 'false',
    WRANGLER_SEND_ERROR_REPORTS: 'false',
    // Without the banner wrangler does not look for a newer version.
    WRANGLER_HIDE_BANNER: 'true',
    X_LOCAL_EXPLORER: 'false',
  }
}

/**
 * Prints the Workers' log lines as they wrote them. Other lines are held while wrangler starts (most of them
 * list variables), and are printed afterwards but for its line for each request, which the API logs itself.
 */
function printOutput(streams: (NodeJS.ReadableStream | null)[]) {
  let held: string[] | undefined = []
  function print(line: string) {
    const logged = /^(?:\[[^\]]*\] )?(\{.*\})$/.exec(line)?.[1]
    if (logged) console.log(logged)
    else if (held) held.push(line)
    else if (!line.startsWith('[wrangler:info]')) console.log(line)
  }
  for (const input of streams) if (input) createInterface({ input }).on('line', print)
  return {
    showHeld: () => held?.forEach((line) => void console.log(line)),
    dropHeld() {
      held = undefined
    },
  }
}

/** @throws StartError when wrangler ends, or does not answer in time */
async function untilAnswering(url: string, wrangler: ReturnType<typeof startBoundChild>) {
  const deadline = Date.now() + startWaitMs
  while (!wrangler.hasExited()) {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(5000) }).catch(() => undefined)
    await answer?.text().catch(() => {})
    if (answer?.ok) return
    if (Date.now() > deadline)
      throw new StartError(`wrangler dev does not answer on ${url} after ${startWaitMs / 1000} s`)
    await sleep(100)
  }
  throw new StartError('wrangler dev ended: its own lines above say why')
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
