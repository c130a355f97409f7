/** The account operations: validated input in, a verb called, its answer out. */
import type { Context, Hono } from 'hono'
import type { Caller } from '../auth/access-tokens.ts'
import { invalidInput, notFound } from '../core/problem.ts'
import { refuseEnded } from '../http/authenticate.ts'
import { wrongCredentials } from '../http/bearer.ts'
import type { AppEnv } from '../http/deps.ts'
import { mount } from '../http/operation.ts'
import { linksOf, positionOf } from '../http/page.ts'
import { pathId } from '../http/path-id.ts'
import { count, refund } from '../http/rate-limit.ts'
import type { PasswordHasher } from '../ports/passwords.ts'
import * as operations from './operations.ts'
import * as queries from './queries.ts'
import * as sessions from './sessions.ts'
import * as users from './users.ts'

/** As much of a User-Agent as a list of sessions has use for. */
const userAgentLength = 200

export function mountAccounts(app: Hono<AppEnv>) {
  mount(app, operations.register, async (c, { body }) =>
    c.json(await users.register(c.get('deps'), hasherFor(c), body), 201),
  )

  mount(app, operations.createToken, async (c, { body }) => {
    const { limits } = c.get('deps').config
    const name = body.username.toLowerCase()
    // Counted before the password is looked at, or parallel guesses would all be in time.
    const counted = await count(
      c,
      { rule: limits.login, identity: `${name} ${c.get('address')}` },
      { rule: limits.username, identity: name },
    )
    const userAgent = c.req.header('User-Agent')?.slice(0, userAgentLength) ?? null
    const credentials = { ...body, userAgent }
    const tokens = await users
      .logIn(c.get('deps'), hasherFor(c), credentials, (id) => c.set('userId', id))
      .catch(async (error: unknown) => {
        await refund(c, counted)
        throw error
      })
    if (!tokens) throw wrongCredentials('The username or the password is wrong.')
    await refund(c, counted)
    return c.json(tokens)
  })

  mount(app, operations.refreshToken, async (c, { body }) => {
    const tokens = await sessions.refreshSession(c.get('deps'), body.refresh_token, (id) =>
      c.set('userId', id),
    )
    if (!tokens) throw wrongCredentials('The refresh token is not valid, or no longer.')
    return c.json(tokens)
  })

  mount(app, operations.revokeToken, async (c, { body }) => {
    await sessions.revokeSession(c.get('deps'), body.refresh_token)
    return c.body(null, 200)
  })

  mount(app, operations.listSessions, async (c, { query }) => {
    const { deps, caller } = c.var
    const list = { path: operations.listSessions.path, userId: caller.userId, query }
    const position = await positionOf(c, list)
    const page = await sessions.listSessions(deps, caller, { limit: query.limit, position })
    if (!page) return refuseEnded(c)
    const { link, ...links } = linksOf(c, list, page)
    if (link) c.header('Link', link)
    return c.json({ ...links, results: page.results })
  })

  mount(app, operations.endSession, async (c) => {
    const { live, ended } = await sessions.endOwnSession(c.get('deps'), c.get('caller'), pathId(c))
    if (!live) return refuseEnded(c)
    if (!ended) throw notFound()
    return c.body(null, 204)
  })

  mount(app, operations.getMe, async (c) => {
    const user = await queries.findCaller(c.get('deps').db, c.get('caller'))
    if (!user) return refuseEnded(c)
    return c.json(withoutHash(user))
  })

  mount(app, operations.changeMe, async (c, { body }) => {
    const { email, password, current_password: currentPassword } = body
    if (currentPassword === undefined) {
      const user = await queries.updateEmail(c.get('deps').db, c.get('caller'), email ?? null)
      return user ? c.json(user) : refuseEnded(c)
    }
    const change = { email, password, currentPassword }
    return c.json(
      await guarded(c, '/current_password', () =>
        users.changeAccount(c.get('deps'), hasherFor(c), c.get('caller'), change),
      ),
    )
  })

  mount(app, operations.deleteMe, async (c, { body }) => {
    await guarded(c, '/password', () =>
      users.deleteAccount(c.get('deps'), hasherFor(c), c.get('caller'), body.password),
    )
    return c.body(null, 204)
  })

  mount(app, operations.listUsers, async (c, { query }) => {
    const results = await queries.findUsers(c.get('deps').db, c.get('caller'), query.search ?? '')
    if (!results) return refuseEnded(c)
    return c.json({ results })
  })
}

/** Waits in the password queue in the name of the caller's address, and of the caller where there is one. */
function hasherFor(c: Context<AppEnv>): PasswordHasher {
  const { deps, address } = c.var
  const caller: Caller | undefined = c.get('caller')
  return deps.passwords.for({ address, ...(caller && { user: caller.userId }) })
}

/**
 * Runs what a password guards; a wrong one is a 400 on its member. Right or wrong it counts, or one user could keep the
 * password queue full by right ones.
 */
async function guarded<T>(
  c: Context<AppEnv>,
  pointer: string,
  act: () => Promise<users.Guarded<T>>,
): Promise<T> {
  const { deps, caller } = c.var
  const counted = await count(c, { rule: deps.config.limits.password, identity: String(caller.userId) })
  const result = await act().catch(async (error: unknown) => {
    await refund(c, counted)
    throw error
  })
  if (result.outcome === 'wrong password') throw invalidInput([{ pointer, detail: 'It is wrong.' }])
  if (result.outcome === 'ended') return refuseEnded(c)
  return result.value
}

function withoutHash({ id, username, email, created_at }: users.User): users.User {
  return { id, username, email, created_at }
}
