/** Keys from JWT_SECRET: it signs access tokens itself; for other purposes keys are derived from it. */

const utf8 = new TextEncoder()
const hmac = { name: 'HMAC', hash: 'SHA-256' } as const

type Key = Awaited<ReturnType<typeof crypto.subtle.importKey>>

/** Key material is imported once: a CryptoKey verifies about twice as fast as raw bytes do. */
export type Keys = {
  /** Names the secret in tokens without revealing it. */
  kid: string
  accessToken: Key
  refreshToken: Key
  /** Raw: cursors are signed synchronously by node:crypto. WebCrypto goes through a thread pool. */
  cursor: Uint8Array
}

/** One set for each secret, in order: the first signs, all verify. */
export function createKeyring(secrets: readonly string[]): Promise<Keys[]> {
  return Promise.all(secrets.map(deriveKeys))
}

async function deriveKeys(secret: string): Promise<Keys> {
  const material = await crypto.subtle.importKey('raw', utf8.encode(secret), 'HKDF', false, ['deriveBits'])
  /** HKDF-SHA-256 (RFC 5869); `info` keeps the purposes apart. */
  const derive = async (info: string) =>
    new Uint8Array(
      await crypto.subtle.deriveBits(
        { name: 'HKDF', hash: 'SHA-256', salt: new Uint8Array(), info: utf8.encode(`task-api ${info}`) },
        material,
        256,
      ),
    )
  const importHmac = (bytes: Uint8Array<ArrayBuffer>) =>
    crypto.subtle.importKey('raw', bytes, hmac, false, ['sign', 'verify'])
  return {
    kid: toBase64Url((await derive('kid')).slice(0, 6)),
    accessToken: await importHmac(utf8.encode(secret)),
    refreshToken: await importHmac(await derive('refresh token')),
    cursor: await derive('cursor'),
  }
}

export async function sign(key: Key, message: string): Promise<string> {
  return toBase64Url(new Uint8Array(await crypto.subtle.sign('HMAC', key, utf8.encode(message))))
}

/** Compares in constant time, inside WebCrypto. False for a signature that is not base64url. */
export async function verify(key: Key, signature: string, message: string): Promise<boolean> {
  const bytes = fromBase64Url(signature)
  return bytes !== null && crypto.subtle.verify('HMAC', key, bytes, utf8.encode(message))
}

export const toBase64Url = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')

/** Null for anything but canonical base64url: spare bits at the end must be 0. */
export function fromBase64Url(text: string): Uint8Array<ArrayBuffer> | null {
  const bytes = new Uint8Array(Buffer.from(text, 'base64url'))
  // Buffer skips what is not base64url, and takes base64 too.
  return toBase64Url(bytes) === text ? bytes : null
}
