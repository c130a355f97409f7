/** Bearer tokens (RFC 6750). A token's signature is checked here; whether its session lives, the statements ask. */
import type { Context } from 'hono'
import { createMiddleware } from 'hono/factory'
import { isSessionLive } from '../accounts/sessions.ts'
import type { AppEnv } from '../deps.ts'
import { Problem } from '../problem.ts'

const realm = 'Bearer realm="task-api"'

/** The credentials of the Authorization header: undefined when it offers none, '' for an empty token. */
export function bearerToken(header: string | undefined): string | undefined {
  const [, token] = /^bearer(?:\s+(.*))?$/i.exec(header?.trim() ?? '') ?? [undefined, undefined]
  return header !== undefined && /^bearer(\s|$)/i.test(header.trim()) ? (token ?? '') : undefined
}

/** `invalid` says that a token was sent, which the client is told, but not what is wrong with it. */
export function unauthorized({ invalid }: { invalid: boolean }) {
  return invalid
    ? new Problem(401, 'The access token is not valid, or no longer.', {
        headers: {
          'WWW-Authenticate': `${realm}, error="invalid_token", error_description="The access token is not valid, or no longer"`,
        },
      })
    : new Problem(401, 'Send an access token: Authorization: Bearer …', {
        headers: { 'WWW-Authenticate': realm },
      })
}

/** Runs after the rate limit, which has verified the token and set `caller` if it is valid. */
export const authenticate = createMiddleware<AppEnv>(async function authenticate(c, next) {
  if (!c.var.caller) throw unauthorized({ invalid: bearerToken(c.req.header('Authorization')) !== undefined })
  return next()
})

/** For a statement that found the caller's session ended, or the account gone. */
export function sessionEnded(c: Context<AppEnv>): Problem {
  c.var.deps.accessTokens.forget(c.var.accessToken)
  return unauthorized({ invalid: true })
}

/**
 * Throws the problem; but first, where the operation needs a token, asks whether its session still lives, since a
 * refusal comes before the statement that would have asked. So a token that was logged out learns nothing.
 */
export async function refuse(c: Context<AppEnv>, problem: Problem): Promise<never> {
  if (c.var.caller && !(await isSessionLive(c.var.deps, c.var.caller))) throw sessionEnded(c)
  throw problem
}
