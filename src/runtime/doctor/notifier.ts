/** The notifier, asked without an event to handle; and where it tells people, to whom nothing is sent. */

import { lookup } from 'node:dns/promises'
import { dirname, resolve } from 'node:path'
import postgres from 'postgres'
import * as z from 'zod'
import { inspectNotifier } from '../../../workers/lambda/inspection-client.ts'
import { NotificationSettings, notificationsOf, receiversOf } from '../../config/notifications.ts'
import { EventSettings, readSettings } from '../../config/settings.ts'
import { describeFailure } from '../../core/failure.ts'
import type { Credentials } from '../../outbox/credentials.ts'
import { type LambdaAnswer, sendInvocation } from '../../outbox/lambda-client.ts'
import { tryPort } from '../http/listen.ts'
import { openCredentials } from '../notifier/aws-credentials.ts'
import { credentialsPath, readCredentials } from '../notifier/credentials.ts'
import { readDatabaseUrl } from '../postgres/database-url.ts'
import { valueOptions } from '../postgres/postgres.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'
import { isWritable, nearest } from './machine.ts'

const timeoutMs = 5000

export async function checkNotifier({ config, dataDirectory }: Patient): Promise<Finding[]> {
  const { endpoint, port, credentials } = config.notifier
  if (endpoint) return askNotifier(config, endpoint, await openCredentials(credentials)())
  const own = `http://127.0.0.1:${port}`
  const code = await tryPort('127.0.0.1', port)
  if (code === undefined) return [ok('notifier', `npm start starts it; port ${port} is free for it`)]
  if (code !== 'EADDRINUSE')
    return [
      failed('notifier', `port ${port} cannot be opened (${code})`, 'give a NOTIFIER_PORT from 1024 on'),
    ]
  const kept = await readCredentials(credentialsPath(dataDirectory))
  if (!kept)
    return [
      failed(
        'notifier',
        `port ${port} is taken by another program`,
        'stop that one, or give another NOTIFIER_PORT',
      ),
    ]
  return askNotifier(config, own, kept)
}

async function askNotifier(
  config: Patient['config'],
  endpoint: string,
  credentials: Credentials,
): Promise<Finding[]> {
  const dry = await askDry(config, endpoint, credentials)
  return dry.status === 'ok' ? [dry, ...(await askChannels(config, endpoint, credentials))] : [dry]
}

const States = z.object({
  channels: z.array(
    z.object({
      name: z.string(),
      state: z.string(),
      until: z.string().optional(),
      reason: z.string().optional(),
    }),
  ),
})

/** The channels that are not open; AWS itself has nothing that would say so. */
async function askChannels(
  { notifier: { region } }: Patient['config'],
  endpoint: string,
  credentials: Credentials,
): Promise<Finding[]> {
  const answer = await inspectNotifier({ endpoint, credentials, region, timeoutMs }, 'GET', 'channels')
    .then((response) => response.json())
    .catch(() => undefined)
  const { data } = States.safeParse(answer)
  return (data?.channels ?? []).flatMap(({ name, state, until, reason }) => {
    if (state === 'stopped')
      return [
        failed(
          'channel',
          `${name} was stopped: ${reason}; no event goes there`,
          'give it another address, or unset it, and start the notifier again',
        ),
      ]
    if (state !== 'throttled') return []
    return [
      warning('channel', `${name} is throttled by its receiver until ${until}`, 'events wait meanwhile'),
    ]
  })
}

/** A DryRun, which says whether the caller may invoke the function, and does not. */
async function askDry(
  { notifier: { functionName, region } }: Patient['config'],
  endpoint: string,
  credentials: Credentials,
): Promise<Finding> {
  const begun = performance.now()
  const invocation = { endpoint, functionName, region, credentials, invocation: 'DryRun' as const, timeoutMs }
  const answer = await sendInvocation(invocation, '').catch((error: Error) => error)
  const ms = Math.round(performance.now() - begun)
  if (answer instanceof Error)
    return failed(
      'notifier',
      `${endpoint}: ${answer.message}`,
      'start it, or mend NOTIFIER_ENDPOINT; events wait meanwhile',
    )
  if (answer.status === 204)
    return ok('notifier', `${functionName} at ${endpoint} takes invocations (DryRun, ${ms} ms)`)
  const said = `${endpoint} answered ${answer.status} ${reasonOf(answer)}`
  if (answer.status === 403)
    return failed('notifier', said, 'give the key pair that may invoke it, and look at both clocks')
  if (answer.status === 404)
    return failed('notifier', said, 'give as NOTIFIER_FUNCTION and AWS_REGION what the function has there')
  return failed('notifier', said, 'see the log of the notifier')
}

function reasonOf({ headers, payload }: LambdaAnswer): string {
  const type = headers.get('x-amzn-errortype')?.split(':')[0] ?? ''
  const message = /"message":"((?:[^"\\]|\\.)*)"/i.exec(payload)?.[1] ?? ''
  return `${type} ${message}`.trim().slice(0, 300)
}

/** @param verifySmtp connects and logs in, and rejects when it cannot */
export function checkChannels(verifySmtp: (smtpUrl: string) => Promise<void>) {
  return async ({ env }: Patient): Promise<Finding[]> => {
    const receivers = receiversOf(notificationsOf(readSettings(z.object(NotificationSettings), env)))
    if (receivers.length === 0) return [ok('channels', 'none: the notifier only prints its line')]
    return Promise.all(
      receivers.map(({ name, setting, url }) =>
        /^smtps?:$/.test(url.protocol) ? checkSmtp(url, verifySmtp) : checkHost(name, url, setting),
      ),
    )
  }
}

/** Not even connected to: what is posted there, people see. The path, which may be a secret, is not shown. */
async function checkHost(name: string, { protocol, hostname, host }: URL, setting: string): Promise<Finding> {
  try {
    await lookup(hostname.replace(/^\[(.*)\]$/, '$1'))
  } catch (error) {
    return failed(
      name,
      `${host} has no address (${describeFailure(error)})`,
      `mend ${setting}, or the name service`,
    )
  }
  if (protocol === 'http:' && !isHere(hostname))
    return warning(name, `${host} has an address, but titles go there unencrypted`, 'give an https URL')
  return ok(name, `${host} has an address; nothing was posted`)
}

async function checkSmtp(url: URL, verifySmtp: (smtpUrl: string) => Promise<void>): Promise<Finding> {
  const { host } = url
  try {
    await verifySmtp(url.href)
    return ok('smtp', `${host} takes mail from us; none was sent`)
  } catch (error) {
    return failed('smtp', `${host}: ${describeFailure(error)}`, 'mend SMTP_URL, or start that server')
  }
}

/** Where the notifier keeps Events, when it is told so itself, and where it tells of those it gives up. */
export async function checkQueue({ env }: Patient): Promise<Finding[]> {
  const settings = readSettings(z.object(EventSettings), env)
  const { NOTIFIER_DATABASE_URL: databaseUrl, NOTIFIER_ON_FAILURE: target } = settings
  return [
    ...(databaseUrl ? [await checkQueueDatabase(databaseUrl)] : []),
    ...(target ? [await checkTarget(target)] : []),
  ]
}

async function checkQueueDatabase(databaseUrl: string): Promise<Finding> {
  const name = 'notifier database'
  const setting = 'NOTIFIER_DATABASE_URL'
  const { options } = readDatabaseUrl({ databaseUrl, setting })
  const sql = postgres({ ...valueOptions, ...options, max: 1, prepare: false })
  try {
    const [row] = await sql<[{ ready: boolean }]>`select to_regclass('notifier_events') is not null ready`
    return row.ready
      ? ok(name, 'has the queue of Events')
      : failed(name, 'has no table notifier_events', `DATABASE_URL="$${setting}" npm run migrate`)
  } catch (error) {
    return failed(name, `cannot be used: ${describeFailure(error)}`, `start it, or mend ${setting}`)
  } finally {
    await sql.end({ timeout: 1 })
  }
}

async function checkTarget(target: string): Promise<Finding> {
  const name = 'on-failure destination'
  if (/^https?:/.test(target)) return checkHost(name, new URL(target), 'NOTIFIER_ON_FAILURE')
  const directory = dirname(resolve(target))
  // The notifier makes what is missing.
  const there = await nearest(directory)
  return (await isWritable(there))
    ? ok(name, `a file in ${directory}${there === directory ? '' : ', which is made when needed'}`)
    : failed(
        name,
        `${there} may not be written to by this user`,
        'open it to this user, or mend NOTIFIER_ON_FAILURE',
      )
}
