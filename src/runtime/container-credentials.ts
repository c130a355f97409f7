/** Credentials that a container's endpoint lends: kept until shortly before they expire, then asked for again. */
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import type {
  ContainerEndpoint,
  CredentialSettings,
  CredentialSource,
  Credentials,
} from '../events/credentials.ts'

/** New ones are there well before; AWS's SDKs ask for them as early. */
const renewBeforeMs = 5 * 60_000
/** The endpoint is on this machine, or next to it. */
const timeoutMs = 2_000
/** An endpoint that failed is left alone for so long, while the credentials there are still hold. */
const pauseMs = 5_000

const Answer = z.object({
  AccessKeyId: z.string().min(1),
  SecretAccessKey: z.string().min(1),
  Token: z.string().min(1),
  Expiration: z.string().refine((text) => !Number.isNaN(Date.parse(text))),
})

type Lent = { credentials: Credentials; expiresAt: number }

/** @param now milliseconds since the epoch */
export function openCredentials(
  settings: CredentialSettings,
  now: () => number = Date.now,
): CredentialSource {
  return 'url' in settings ? containerCredentials(settings, now) : async () => settings
}

function containerCredentials(endpoint: ContainerEndpoint, now: () => number): CredentialSource {
  let lent: Lent | undefined
  let failedAt = Number.NEGATIVE_INFINITY
  /** Invocations that come together ask once. */
  let asking: Promise<Lent> | undefined

  return async function credentials(refused) {
    const isFresh = lent && lent.expiresAt - now() > renewBeforeMs && lent.credentials !== refused
    const isUsable = lent && lent.expiresAt > now()
    if (lent && (isFresh || (isUsable && now() - failedAt < pauseMs))) return lent.credentials
    asking ??= ask(endpoint).finally(() => {
      asking = undefined
    })
    try {
      lent = await asking
    } catch (error) {
      failedAt = now()
      if (!lent || lent.expiresAt <= now()) throw error
    }
    return lent.credentials
  }
}

/** @throws Error that names the host alone: what follows it may be a secret */
async function ask({ url, token, tokenFile }: ContainerEndpoint): Promise<Lent> {
  const from = `no credentials from ${new URL(url).host}`
  try {
    const authorization = tokenFile ? (await readFile(tokenFile, 'utf8')).trim() : token
    const response = await fetch(url, {
      headers: { accept: 'application/json', ...(authorization && { authorization }) },
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
    })
    const body = await response.text()
    if (!response.ok) throw new Error(`it answered ${response.status}`)
    const answer = Answer.safeParse(parse(body))
    if (!answer.success) {
      const members = answer.error.issues.map(({ path }) => path.join('.') || 'an object')
      throw new Error(`its answer lacks ${[...new Set(members)].join(', ')}`)
    }
    const {
      AccessKeyId: accessKeyId,
      SecretAccessKey: secretAccessKey,
      Token: sessionToken,
      Expiration,
    } = answer.data
    return { credentials: { accessKeyId, secretAccessKey, sessionToken }, expiresAt: Date.parse(Expiration) }
  } catch (error) {
    throw new Error(`${from}: ${reason(error)}`)
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reason(error: unknown) {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
  // Node says only "fetch failed"; what went wrong is in the cause.
  const cause = error.cause instanceof Error ? error.cause.message || error.cause.name : undefined
  // A header that cannot be is shown in the message.
  return error instanceof TypeError && !cause ? 'its token or address is no good' : (cause ?? error.message)
}
