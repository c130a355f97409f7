/** Access tokens: JWTs signed by HS256. */
import { decodeProtectedHeader, errors, jwtVerify, SignJWT } from 'jose'
import type { Caller } from './caller.ts'
import { fromBase64Url, type Keys } from './keyring.ts'

export type AccessTokens = ReturnType<typeof createAccessTokens>

/** The moment in ms since the epoch, and how many sessions had ended in this process by then. */
type Confirmation = { at: number; sessionsEnded: number }

const confirmedMs = 1000
/** Tokens remembered by one process; the oldest are forgotten, and verified again. */
const remembered = 10_000

export function createAccessTokens(options: {
  keyring: Keys[]
  issuer: string
  audience: string
  now: () => number
}) {
  const { keyring, issuer, audience, now } = options
  const [signing] = keyring
  if (!signing) throw new RangeError('a keyring needs a key')
  /** Verifying costs some 20 µs, a look-up 0.1 µs. `caller` is null for the token of an ended session. */
  const known = new Map<string, { caller: Caller | null; expiresAt: number; confirmed?: Confirmation }>()
  let sessionsEnded = 0

  function remember(token: string, caller: Caller | null, expiresAt: number) {
    const oldest = known.size >= remembered ? known.keys().next().value : undefined
    if (oldest !== undefined) known.delete(oldest)
    known.set(token, { caller, expiresAt })
  }

  function candidates(token: string): Keys[] {
    const { kid } = decodeProtectedHeader(token)
    const named = keyring.filter((keys) => keys.kid === kid)
    return named.length > 0 ? named : keyring
  }

  async function check(token: string): Promise<Caller | null> {
    try {
      return await callerOf(token)
    } catch (error) {
      if (error instanceof errors.JOSEError || error instanceof TypeError) return null
      throw error
    }
  }

  async function callerOf(token: string): Promise<Caller | null> {
    // Decoders ignore spare bits and padding; here a token has one spelling.
    if (fromBase64Url(token.slice(token.lastIndexOf('.') + 1)) === null) return null
    for (const { accessToken } of candidates(token)) {
      try {
        const { payload } = await jwtVerify(token, accessToken, {
          algorithms: ['HS256'],
          issuer,
          audience,
          requiredClaims: ['sub', 'sid', 'iat', 'exp', 'jti'],
          currentDate: new Date(now()),
        })
        const caller = { userId: Number(payload.sub), sessionId: Number(payload.sid) }
        if (!Number.isSafeInteger(caller.userId) || !Number.isSafeInteger(caller.sessionId)) return null
        remember(token, caller, (payload.exp ?? 0) * 1000)
        return caller
      } catch (error) {
        if (!(error instanceof errors.JWSSignatureVerificationFailed)) throw error
      }
    }
    return null
  }

  return {
    /** `expiresAt` (ms since the epoch) is cut to whole seconds, as `exp` is. */
    issue: (caller: Caller, expiresAt: number) =>
      new SignJWT({ sid: caller.sessionId })
        .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid: signing.kid })
        .setIssuer(issuer)
        .setAudience(audience)
        .setSubject(String(caller.userId))
        .setIssuedAt(Math.floor(now() / 1000))
        .setExpirationTime(Math.floor(expiresAt / 1000))
        .setJti(crypto.randomUUID())
        .sign(signing.accessToken),

    /** Null for an invalid token, whatever the reason. Answers at once for a token that it remembers. */
    verify(token: string): Caller | null | Promise<Caller | null> {
      const entry = known.get(token)
      if (!entry) return check(token)
      if (entry.expiresAt > now()) return entry.caller
      known.delete(token)
      return null
    },

    /** Makes a token invalid in this process, once its session was found to have ended. */
    forget(token: string) {
      const entry = known.get(token)
      if (entry) entry.caller = null
    },

    /**
     * Call before checking a token's session, and call the returned function if it lives. The token
     * `isConfirmed` for a second from the first call on, unless a session ends in this process.
     */
    startConfirming(token: string) {
      const confirmed = { at: now(), sessionsEnded }
      return () => {
        const entry = known.get(token)
        if (entry) entry.confirmed = confirmed
      }
    },

    isConfirmed(token: string) {
      const { confirmed } = known.get(token) ?? {}
      return confirmed?.sessionsEnded === sessionsEnded && now() - confirmed.at < confirmedMs
    },

    /** Withdraws all confirmations, once any session has ended. */
    doubtAll() {
      sessionsEnded++
    },
  }
}
