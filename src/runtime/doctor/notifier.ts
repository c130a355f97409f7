/** The notifier, asked without an event to handle; and where it tells people, to whom nothing is sent. */
import { lookup } from 'node:dns/promises'
import * as z from 'zod'
import type { Credentials } from '../../events/credentials.ts'
import { type LambdaAnswer, sendInvocation } from '../../events/lambda-client.ts'
import { NotificationSettings, notificationsOf } from '../../notification-settings.ts'
import { readSettings } from '../../settings.ts'
import { openCredentials } from '../container-credentials.ts'
import { credentialsPath, readCredentials } from '../notifier-credentials.ts'
import { describeFailure } from '../operator-database.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'
import { tryPort } from './machine.ts'

const timeoutMs = 5000

export async function checkNotifier({ config, dataDirectory }: Patient): Promise<Finding[]> {
  const { endpoint, port, credentials } = config.notifier
  if (endpoint && credentials)
    return [await askNotifier(config, endpoint, await openCredentials(credentials)())]
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
  return [await askNotifier(config, own, kept)]
}

/** A DryRun, which says whether the caller may invoke the function, and does not. */
async function askNotifier(
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
    const { webhook, email } = notificationsOf(readSettings(z.object(NotificationSettings), env))
    return [
      ...(webhook ? [await checkWebhook(new URL(webhook.url))] : []),
      ...(email ? [await checkSmtp(email.smtpUrl, verifySmtp)] : []),
      ...(webhook || email ? [] : [ok('channels', 'none: the notifier only prints its line')]),
    ]
  }
}

/** Not even connected to: what is posted there, people see. The path, which may be a secret, is not shown. */
async function checkWebhook({ protocol, hostname, host }: URL): Promise<Finding> {
  try {
    await lookup(hostname.replace(/^\[(.*)\]$/, '$1'))
  } catch (error) {
    return failed(
      'webhook',
      `${host} has no address (${describeFailure(error)})`,
      'mend NOTIFY_WEBHOOK_URL, or the name service',
    )
  }
  if (protocol === 'http:' && !isHere(hostname))
    return warning('webhook', `${host} has an address, but titles go there unencrypted`, 'give an https URL')
  return ok('webhook', `${host} has an address; nothing was posted`)
}

async function checkSmtp(smtpUrl: string, verifySmtp: (smtpUrl: string) => Promise<void>): Promise<Finding> {
  const { host } = new URL(smtpUrl)
  try {
    await verifySmtp(smtpUrl)
    return ok('smtp', `${host} takes mail from us; none was sent`)
  } catch (error) {
    return failed('smtp', `${host}: ${describeFailure(error)}`, 'mend SMTP_URL, or start that server')
  }
}
