/** Refresh tokens are derived, not stored: session, generation, and a MAC that also covers the row's salt. */
import { type Keys, sign, verify } from './keyring.ts'

export type RefreshToken = { sessionId: number; generation: number }

export type RefreshTokens = ReturnType<typeof createRefreshTokens>

const form = /^([A-Za-z0-9_-]{8})\.([1-9]\d{0,14})\.([1-9]\d{0,8})\.([A-Za-z0-9_-]{43})$/

/** The token's unverified claims; null for a text in another form. */
export function readRefreshToken(text: string): RefreshToken | null {
  const [, , sessionId, generation] = form.exec(text) ?? []
  return sessionId && generation ? { sessionId: Number(sessionId), generation: Number(generation) } : null
}

export function createRefreshTokens(keyring: Keys[]) {
  const [signing] = keyring
  if (!signing) throw new RangeError('a keyring needs a key')
  const message = (head: string, salt: string) => `${head}.${salt}`
  return {
    async issue({ sessionId, generation }: RefreshToken, salt: string) {
      const head = `${signing.kid}.${sessionId}.${generation}`
      return `${head}.${await sign(signing.refreshToken, message(head, salt))}`
    },
    /** Whether the token was issued for the session with this salt, in any generation. */
    async isGenuine(text: string, salt: string) {
      const [head, mac, kid] = [text.slice(0, -44), text.slice(-43), text.slice(0, 8)]
      const keys = keyring.find((candidate) => candidate.kid === kid)
      return keys !== undefined && verify(keys.refreshToken, mac, message(head, salt))
    },
  }
}
