/** For every rate limit a request that counts under it. */
import { type Answer, createClient, newName } from './client.ts'
import type { Target } from './targets.ts'

type CountedRequest = {
  /** In the policy that the answers name. */
  name: string
  limit: Target['limits']['user']
  /** Requests to send at once so that no other limit refuses one of them. */
  burst: number
  /** Status of the requests that pass. */
  passed: number
  /** Makes a user or an address of its own to send from. */
  make: () => Promise<() => Promise<Answer>>
}

export function countedRequests(target: Target): Record<string, CountedRequest> {
  const { user, anonymous, token: tokens, register, login, username } = target.limits
  const newClient = () => createClient(target)
  const logIn = (json: object, client = newClient()) => client.request('POST', '/api/token/', { json })
  return {
    user: {
      name: 'user',
      limit: user,
      burst: 3 * user.limit,
      passed: 200,
      async make() {
        const [client, { token }] = [newClient(), await newClient().register()]
        return () => client.request('GET', '/api/users/me/', { token })
      },
    },
    anonymous: {
      name: 'anonymous',
      limit: anonymous,
      burst: 3 * anonymous.limit,
      passed: 401,
      async make() {
        const client = newClient()
        return () => client.request('GET', '/api/users/me/')
      },
    },
    token: {
      name: 'token',
      limit: tokens,
      burst: 3 * tokens.limit,
      passed: 200,
      async make() {
        const client = newClient()
        return () => client.request('POST', '/api/token/revoke/', { json: { refresh_token: 'none' } })
      },
    },
    register: {
      name: 'register',
      limit: register,
      burst: Math.min(3 * register.limit, anonymous.limit),
      passed: 405,
      async make() {
        const client = newClient()
        return () => client.request('GET', '/api/register/')
      },
    },
    'failed logins of one name and address': {
      name: 'login',
      limit: login,
      burst: Math.min(3 * login.limit, tokens.limit),
      passed: 401,
      async make() {
        const client = newClient()
        const json = { username: newName(), password: 'wrong horse' }
        return () => logIn(json, client)
      },
    },
    'failed logins of one name': {
      name: 'username',
      limit: username,
      burst: 3 * username.limit,
      passed: 401,
      async make() {
        const json = { username: newName(), password: 'wrong horse' }
        return () => logIn(json)
      },
    },
    'wrong passwords of an authenticated user': {
      name: 'password',
      limit: login,
      burst: Math.min(3 * login.limit, user.limit),
      passed: 400,
      async make() {
        const { token } = await newClient().register()
        const json = { password: 'wrong horse' }
        return () => newClient().request('DELETE', '/api/users/me/', { token, json })
      },
    },
  }
}
