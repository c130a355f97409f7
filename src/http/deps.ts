/** The dependencies that a runtime supplies, and the state of a request while it is answered. */
import type { Context } from 'hono'
import type { AccessTokens } from '../auth/access-tokens.ts'
import type { Caller } from '../auth/caller.ts'
import type { Keys } from '../auth/keyring.ts'
import type { RefreshTokens } from '../auth/refresh-tokens.ts'
import type { Config } from '../config/api.ts'
import type { Logger } from '../core/log.ts'
import type { Database } from '../ports/database.ts'
import type { Metrics } from '../ports/metrics.ts'
import type { PasswordQueue } from '../ports/passwords.ts'
import type { Cache, Lookup } from '../store/cache.ts'
import type { Limiter, Verdict } from '../store/limiter.ts'

export type Deps = {
  config: Config
  db: Database
  keyring: Keys[]
  accessTokens: AccessTokens
  refreshTokens: RefreshTokens
  passwords: PasswordQueue
  limiter: Limiter
  cache: Cache
  /** Whether a shared store answers; true where there is none. Never rejects. */
  isStoreThere: () => Promise<boolean>
  /** Whether this process was told to stop and only serves its last requests. */
  isStopping: () => boolean
  /** Milliseconds since the epoch. */
  now: () => number
  log: Logger
  metrics: Metrics
  /** Runs work that the response does not wait for; it never rejects. */
  background: (work: Promise<void>) => void
  /** An event was committed: the relay need not wait for its timer. */
  eventRecorded: () => void
}

export type Runtime = {
  /** The deps of one request: a constant on Node, made for each request at the edge. */
  provide: (c: Context) => Deps
  /** The address at the other end of the connection. */
  connectionAddress: (c: Context) => string | undefined
  /**
   * Whether proxies in front of the service have private addresses. If so, a proxy header is believed only
   * from such a peer, unless TRUSTED_PROXY_ADDRESSES names others.
   */
  proxiesAreNear: boolean
}

/** One request while it is answered. */
export type Exchange = {
  deps: Deps
  c: Context
  requestId: string
  /** The client's address in full, or `unknown`. */
  readonly clientAddress: string
  /** The address that limits count for: the client's, or its network. */
  readonly limitAddress: string
  /** The operation's path with the names of its parameters; undefined where none has matched. */
  route: string | undefined
  /** Headers of the response: those that every response has, and those that steps have added. */
  headers: Record<string, string>
  /** The limits that this request was counted under, newest last. */
  verdicts: Verdict[]
  /** Set where the operation needs an access token. */
  caller: Caller | undefined
  /** Set once the access token's signature is verified. Statements check the session. */
  session: { caller: Caller; accessToken: string } | undefined
  /** The result of the cache look-up, where the operation is cached and the caller is known. */
  lookup: Lookup | undefined
  /** The user that a login or a refresh names, for the log alone: the password or the token may be wrong. */
  namedUserId: number | undefined
}

/** An exchange of an operation that needs an access token. */
export type CallerExchange = Exchange & { caller: Caller }
