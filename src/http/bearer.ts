/** Bearer tokens in HTTP (RFC 6750). */
import { Problem } from '../core/problem.ts'

const realm = 'Bearer realm="task-api"'

/** The token of the Authorization header: undefined for another scheme or none, '' for an empty token. */
export function bearerToken(header: string | undefined): string | undefined {
  const [found, token = ''] = /^bearer(?:\s+(.*))?$/is.exec(header?.trim() ?? '') ?? []
  return found === undefined ? undefined : token
}

/** For credentials other than a token, for which RFC 6750 has no error code. */
export const wrongCredentials = (detail: string) =>
  new Problem(401, detail, { headers: { 'WWW-Authenticate': realm } })

/** @param invalid whether a token was sent; the client is not told what is wrong with it */
export function unauthorized({ invalid }: { invalid: boolean }) {
  const description = 'The access token is not valid, or no longer'
  if (!invalid) return wrongCredentials('Send an access token: Authorization: Bearer …')
  return new Problem(401, `${description}.`, {
    headers: { 'WWW-Authenticate': `${realm}, error="invalid_token", error_description="${description}"` },
  })
}
