/** Keys from the provider chain of AWS's SDK, for an API without keys in its settings. */

import { StartError } from '../../core/start-error.ts'
import type { CredentialSource, Credentials } from '../../outbox/credentials.ts'

/**
 * Returns the given keys, or those of the chain: shared files, web identity, the endpoints of ECS and EKS,
 * EC2's instance role. The chain caches keys until shortly before they expire; refused keys are fetched
 * again. Its package is loaded on first use, since few deployments need it.
 * https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
 */
export function openCredentials(given: Credentials | undefined): CredentialSource {
  if (given) return async () => given
  const chain = import('@aws-sdk/credential-providers').then(({ fromNodeProviderChain }) =>
    fromNodeProviderChain(),
  )
  // Awaited only at the first invocation.
  chain.catch(() => {})
  let latest: Credentials | undefined
  return async (refused) => {
    const provide = await chain
    const found = await provide({ forceRefresh: refused !== undefined && refused === latest })
    const { accessKeyId, secretAccessKey, sessionToken } = found
    const isSame = latest?.accessKeyId === accessKeyId && latest.sessionToken === sessionToken
    if (!latest || !isSame)
      latest = { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) }
    return latest
  }
}

/** @throws StartError when there are none */
export async function assertCredentials(given: Credentials | undefined): Promise<void> {
  try {
    await openCredentials(given)()
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\s+/g, ' ') : error
    throw new StartError(
      `AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY: missing beside NOTIFIER_ENDPOINT, and AWS's provider chain finds none (${reason}); give the key pair that may invoke the function, or a role`,
    )
  }
}
