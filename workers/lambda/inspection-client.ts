/**
 * Asks the notifier how it is, beside AWS's API; see workers/lambda/inspection.ts. Signed as an invocation
 * is.
 */
import { AwsV4Signer } from 'aws4fetch'
import type { Credentials } from '../../src/outbox/credentials.ts'

type Options = { endpoint: string; credentials: Credentials; region: string; timeoutMs: number }

/** One request, whatever its answer. @throws Error when none came */
export async function inspectNotifier(
  { endpoint, credentials, region, timeoutMs }: Options,
  method: 'GET' | 'POST',
  path: string,
): Promise<Response> {
  const url = `${endpoint.replace(/\/+$/, '')}/notifier/${path}`
  const { headers } = await new AwsV4Signer({ method, url, region, service: 'lambda', ...credentials }).sign()
  return fetch(url, { method, headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
}
