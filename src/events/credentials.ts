/** With what the notifier is invoked: a key pair as it is, or one that a container's endpoint lends for a while. */

export type Credentials = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

/**
 * Asked before each invocation.
 * @param refused those that the service has just refused: others are looked for
 * @throws Error when there are none, in one line without secrets
 */
export type CredentialSource = (refused?: Credentials) => Promise<Credentials>

/** Where ECS, EKS and others like them lend credentials. https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
export type ContainerEndpoint = {
  url: string
  /** For the Authorization header, where one is wanted; the file is read again each time, as what is in it changes. */
  token?: string | undefined
  tokenFile?: string | undefined
}

/** Plain data, as the settings have it. */
export type CredentialSettings = Credentials | ContainerEndpoint

const ecsHost = '169.254.170.2'
const knownHosts = new Set([ecsHost, '169.254.170.23', '[fd00:ec2::23]', '[::1]', 'localhost'])

/** Such as `/v2/credentials/…`, which is a secret: whoever has it, in this container, has the keys. */
export const ecsUrl = (relativeUri: string) => `http://${ecsHost}${relativeUri}`

/** Encrypted, or on this machine, or one of the addresses that AWS has for it: the answer is a key pair. As AWS's SDKs have it. */
export function isContainerUrl(text: string): boolean {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || url.username || url.password) return false
  if (url.protocol === 'https:') return true
  return url.protocol === 'http:' && (knownHosts.has(url.hostname) || /^127(\.\d+){3}$/.test(url.hostname))
}
