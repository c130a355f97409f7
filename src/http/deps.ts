/** What a runtime must supply. Everything below the entries works on these alone. */
import type { Context } from 'hono'
import type { AccessTokens, Caller } from '../auth/access-tokens.ts'
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
  /** Whether a store that is shared answers; true where there is none. Never rejects. */
  isStoreThere: () => Promise<boolean>
  /** Whether this process has been told to stop, and answers only until nobody asks it any more. */
  isStopping: () => boolean
  /** Milliseconds since the epoch. */
  now: () => number
  log: Logger
  metrics: Metrics
  /** Lets work go on that the answer does not wait for; it never rejects. */
  background: (work: Promise<void>) => void
  /** A task was completed, its event committed: the relay may set off without waiting for its timer. */
  completionRecorded: () => void
}

export type Runtime = {
  /** The deps of one request: a constant on Node, made for each request at the edge. */
  provide: (c: Context) => Deps
  /** The address at the other end of the connection. */
  connectionAddress: (c: Context) => string | undefined
  /**
   * Whether the proxies in front of the service have addresses of private networks. Then, unless TRUSTED_PROXY_ADDRESSES says
   * more, the header of no other peer is believed.
   */
  proxiesAreNear: boolean
}

export type Variables = {
  deps: Deps
  requestId: string
  /** The canonical path of the operation, with its parameters' names. */
  route: string
  /** Set once the access token's signature is verified; whether the session still lives, each statement asks. */
  caller: Caller
  accessToken: string
  /** Whom a login, or a refresh, is about: for the log alone, since the password or the token may be wrong. */
  userId: number
  /** Looks for a cached answer; set where there may be one, called as soon as the caller is known. */
  lookUp: (caller: Caller) => Promise<Lookup>
  /** What that has found. */
  lookup: Promise<Lookup>
  /** In full, or `unknown`. */
  clientAddress: string
  /** The address that limits count for: the client's, or its network. */
  address: string
  /** What this request was counted for, newest last; the headers report one of them. */
  verdicts: Verdict[]
}

export type AppEnv = { Variables: Variables }
