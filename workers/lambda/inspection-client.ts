/** Client of workers/lambda/inspection.ts. Its requests are signed like invocations. */
import { AwsV4Signer } from 'aws4fetch'
import type { KeyPair } from './sigv4.ts'

type Options = {
  endpoint: string
  credentials: KeyPair & { sessionToken?: string }
  region: string
  timeoutMs: number
}

/** @throws Error when no answer came */
export async function inspect(
  { endpoint, credentials, region, timeoutMs }: Options,
  method: 'GET' | 'POST',
  path: string,
): Promise<Response> {
  const url = `${endpoint.replace(/\/+$/, '')}/inspection/${path}`
  const { headers } = await new AwsV4Signer({ method, url, region, service: 'lambda', ...credentials }).sign()
  return fetch(url, { method, headers, redirect: 'manual', signal: AbortSignal.timeout(timeoutMs) })
}
