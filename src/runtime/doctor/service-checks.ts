/** Checks that `npm run doctor` adds to those of a start: of the services that the settings name. */
import * as z from 'zod'
import { inspect } from '../../../workers/lambda/inspection-client.ts'
import { verifySmtp } from '../../../workers/notifier/email.ts'
import { readNotifications } from '../../../workers/notifier/settings.ts'
import type { Config } from '../../config/api.ts'
import { httpOrigin, localAddress } from '../../core/host.ts'
import type { Logger } from '../../core/log.ts'
import { StartError } from '../../core/start-error.ts'
import { settleWithin } from '../../core/timeout.ts'
import { createReadinessCheck, type Readiness } from '../../health/readiness.ts'
import { createLambdaClient } from '../../outbox/lambda-client.ts'
import { openCredentials } from '../notifier/aws-credentials.ts'
import { credentialsPath, readCredentials } from '../notifier/credentials.ts'
import { createNodeHasher } from '../passwords/password-hasher.ts'
import { connectDatabase } from '../postgres/service-database.ts'
import type { Stack } from '../process/shutdown.ts'
import type { StartContext } from '../start-checks.ts'
import { openSharedStore } from '../store/open-store.ts'

export type DoctorContext = StartContext & {
  env: NodeJS.ProcessEnv
  /** Closes connections at the end. */
  stack: Stack
  /** Undefined when no service answers on the configured port. */
  running: Readiness | undefined
}

const timeoutMs = 5000

export const serviceChecks = [
  { name: 'passwords', run: checkPasswords },
  { name: 'readiness', run: checkReadiness },
  { name: 'store', run: checkStore },
  { name: 'notifier', run: checkNotifier },
  { name: 'e-mail', run: checkEmail },
]

async function checkPasswords({ config: { bcryptCost: cost }, log }: DoctorContext): Promise<string> {
  await createNodeHasher({ cost, log })
  return 'hashed by native bcrypt'
}

const ReadinessAnswer = z.object({
  status: z.enum(['ready', 'degraded', 'unavailable']),
  unavailable: z.array(z.string()).optional(),
  degraded: z.array(z.string()).optional(),
})

/** Resolves with undefined when no service runs with these settings. */
export async function askService({ host, port }: Config): Promise<Readiness | undefined> {
  const url = `${httpOrigin(localAddress(host), port)}/readyz`
  const asked = fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'manual' })
    .then((response) => response.json())
    .catch(() => undefined)
  // Neither fetch nor its signal keeps Node running when the server closes the connection without an answer.
  const answer = await settleWithin(timeoutMs, asked)
  return ReadinessAnswer.safeParse(answer).data as Readiness | undefined
}

/** The service's own answer; when it does not run, the answer that it would give with this database. */
async function checkReadiness(context: DoctorContext): Promise<string> {
  const { config, running, log } = context
  if (!running && !config.databaseUrl) return 'the service does not run'
  const { status, unavailable = [], degraded = [] } = running ?? (await askDatabase(context))
  if (status === 'unavailable') throw new StartError(`unavailable: ${unavailable.join(', ')}`)
  if (status === 'degraded') log.warn(`degraded: ${degraded.join(', ')}`)
  return running ? 'the service is ready' : 'the service does not run; its database is ready'
}

const askDatabase = ({ config, log, stack }: DoctorContext): Promise<Readiness> =>
  createReadinessCheck().check({
    db: connectDatabase(config, config.databaseUrl ?? '', stack),
    isStoreThere: async () => true,
    isStopping: () => false,
    now: Date.now,
    log,
  })

async function checkStore({ config: { store }, log, stack }: DoctorContext): Promise<string> {
  if (!store) return 'memory of each process'
  await (await openSharedStore(store, log, stack)).ping()
  return `${store.kind} takes writes`
}

async function checkNotifier({ config, dataDirectory, running, log }: DoctorContext): Promise<string> {
  const { endpoint: external, functionName, region, port, credentials: given } = config.notifier
  if (!external && !running) return 'runs beside the service'
  const endpoint = external ?? httpOrigin('127.0.0.1', port)
  const credentials = external
    ? await openCredentials(given)()
    : await readCredentials(credentialsPath(dataDirectory))
  if (!credentials)
    throw new StartError(`${credentialsPath(dataDirectory)}: missing; give the service's DATA_DIR`)
  const client = { endpoint, functionName, region, credentials, timeoutMs }
  await createLambdaClient({ ...client, invocation: 'RequestResponse' }).dryRun()
  await checkChannels(client, log)
  return `${functionName} at ${endpoint} takes invocations (DryRun)`
}

const text = z.string()
const Channel = z.object({ name: text, state: text, until: text.optional(), reason: text.optional() })
const Channels = z.object({ channels: z.array(Channel) })

/** AWS itself knows no channels. */
async function checkChannels(client: Parameters<typeof inspect>[0], log: Logger) {
  const answer = await inspect(client, 'GET', 'state')
    .then((response) => response.json())
    .catch(() => undefined)
  const { channels } = Channels.safeParse(answer).data ?? { channels: [] }
  for (const { name, until } of channels.filter(({ state }) => state === 'throttled'))
    log.warn(`${name} is throttled by its receiver until ${until}`)
  const advice = 'give it another address, or unset it, and restart the notifier'
  const stopped = channels.filter(({ state }) => state === 'stopped')
  const lines = stopped.map(({ name, reason }) => `${name} was stopped: ${reason}; ${advice}`)
  if (lines.length > 0) throw new StartError(lines.join('\n'))
}

async function checkEmail({ env }: DoctorContext): Promise<string> {
  const { email } = readNotifications(env)
  if (!email) return 'not configured'
  await verifySmtp(email.SMTP_URL)
  return `${new URL(email.SMTP_URL).host} takes mail; none was sent`
}
