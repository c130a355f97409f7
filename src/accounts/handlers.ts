/** Handlers of the account operations. */
import { invalidInput, notFound } from '../core/problem.ts'
import { json, noContent } from '../http/answer.ts'
import { wrongCredentials } from '../http/bearer.ts'
import type { CallerExchange, Exchange } from '../http/deps.ts'
import { type Implementation, implement } from '../http/implement.ts'
import { count, refund } from '../http/rate-limit.ts'
import type { PasswordHasher } from '../ports/passwords.ts'
import * as operations from './operations.ts'
import * as queries from './queries.ts'
import * as sessions from './sessions.ts'
import * as users from './users.ts'

/** As much of a User-Agent as a list of sessions has use for. */
const userAgentLength = 200

/** @param parts the statement that locks the tasks of an account: see `deleteAccount` */
export const createAccounts = (parts: users.DeletionParts): Implementation[] => [
  implement(operations.register, async (exchange, { body }) =>
    json(await users.register(exchange.deps, hasherFor(exchange), body), 201),
  ),

  implement(operations.createToken, async (exchange, { body }) => {
    const { c, deps, limitAddress } = exchange
    const { limits } = deps.config
    const name = body.username.toLowerCase()
    const userAgent = c.req.header('User-Agent')?.slice(0, userAgentLength) ?? null
    // Counted before the password is checked, or parallel guesses would all be in time.
    const counts = [
      { rule: limits.login, identity: `${name} ${limitAddress}` },
      { rule: limits.username, identity: name },
    ]
    const tokens = await counting(exchange, counts, () =>
      users.logIn(deps, hasherFor(exchange), { ...body, userAgent }, nameUser(exchange)),
    )
    if (!tokens) throw wrongCredentials('The username or the password is wrong.')
    return json(tokens)
  }),

  implement(operations.refreshToken, async (exchange, { body }) => {
    const tokens = await sessions.refreshSession(exchange.deps, body.refresh_token, nameUser(exchange))
    if (!tokens) throw wrongCredentials('The refresh token is not valid, or no longer.')
    return json(tokens)
  }),

  implement(operations.revokeToken, async ({ deps }, { body }) => {
    await sessions.revokeSession(deps, body.refresh_token)
    return { status: 200, body: null }
  }),

  implement(operations.listSessions, async ({ deps, caller }, { query: { limit }, page }) => {
    const { results, ...pages } = await sessions.listSessions(deps, caller, {
      limit,
      position: page.position,
    })
    const { headers, ...links } = page.links(pages)
    return json({ ...links, results }, 200, headers)
  }),

  implement(operations.endSession, async ({ deps, caller }, { id }) => {
    if (!(await sessions.endOwnSession(deps, caller, id))) throw notFound()
    return noContent
  }),

  implement(operations.getMe, async ({ deps, caller }) => {
    const { id, username, email, created_at } = await queries.findCaller(deps.db, caller)
    return json({ id, username, email, created_at })
  }),

  implement(operations.changeMe, async (exchange, { body }) => {
    const { deps, caller } = exchange
    const { email, password, current_password: currentPassword } = body
    if (currentPassword === undefined) return json(await queries.updateEmail(deps.db, caller, email ?? null))
    const change = { email, password, currentPassword }
    return json(
      await guarded(exchange, '/current_password', () =>
        users.changeAccount(deps, hasherFor(exchange), caller, change),
      ),
    )
  }),

  implement(operations.deleteMe, async (exchange, { body: { password } }) => {
    const { deps, caller } = exchange
    await guarded(exchange, '/password', () =>
      users.deleteAccount({ ...deps, ...parts }, hasherFor(exchange), caller, password),
    )
    return noContent
  }),

  implement(operations.listUsers, async ({ deps, caller }, { query }) =>
    json({ results: await queries.findUsers(deps.db, caller, query.search ?? '') }),
  ),
]

/** Queues for the password hasher as the client's address, and as the caller where there is one. */
function hasherFor({ deps, limitAddress: address, session }: Exchange): PasswordHasher {
  return deps.passwords.for({ address, ...(session && { user: session.caller.userId }) })
}

const nameUser = (exchange: Exchange) => (userId: number) => {
  exchange.namedUserId = userId
}

/** Counts an attempt under these limits; a successful one, and one that could not be made, counts nothing. */
async function counting<T>(
  exchange: Exchange,
  counts: Parameters<typeof count>[1][],
  attempt: () => Promise<T | null>,
): Promise<T | null> {
  const counted = await count(exchange, ...counts)
  let result: T | null | undefined
  try {
    result = await attempt()
    return result
  } finally {
    if (result !== null) await refund(exchange, counted)
  }
}

/**
 * Runs a change that a password guards. A correct one counts too: one user could else keep the password queue
 * full.
 * @throws Problem 400 on the member `pointer` for a wrong one
 */
async function guarded<T>(
  exchange: CallerExchange,
  pointer: string,
  act: () => Promise<T | 'wrong password'>,
): Promise<T> {
  const { deps, caller } = exchange
  const rule = deps.config.limits.password
  const counted = await count(exchange, { rule, identity: String(caller.userId) })
  const result = await act().catch(async (error: unknown) => {
    await refund(exchange, counted)
    throw error
  })
  if (result === 'wrong password') throw invalidInput([{ pointer, detail: 'It is wrong.' }])
  return result
}
