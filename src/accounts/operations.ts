/** The account operations as clients see them. */
import { operation } from '../http/operation.ts'
import * as schemas from './schemas.ts'

const jsonOrForm: ('application/json' | 'application/x-www-form-urlencoded')[] = [
  'application/json',
  'application/x-www-form-urlencoded',
]
const busy = 'Too many passwords are being checked, or the database is away; see Retry-After'

export const register = operation({
  id: 'register',
  method: 'post',
  path: '/api/register/',
  tag: 'Accounts',
  summary: 'Make an account',
  authenticated: false,
  body: { schema: schemas.Registration, mediaTypes: jsonOrForm },
  answers: { 201: { description: 'The account', schema: schemas.User } },
  problems: { 403: 'Registration is closed', 409: 'The username is taken', 503: busy },
})

export const createToken = operation({
  id: 'createToken',
  method: 'post',
  path: '/api/token/',
  tag: 'Accounts',
  summary: 'Log in',
  description: 'A user has at most 1,000 sessions: the one that was refreshed longest ago ends for one more.',
  authenticated: false,
  body: { schema: schemas.Credentials, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'Tokens of a new session', schema: schemas.Tokens } },
  problems: { 401: 'The username or the password is wrong', 503: busy },
})

export const refreshToken = operation({
  id: 'refreshToken',
  method: 'post',
  path: '/api/token/refresh/',
  tag: 'Accounts',
  summary: 'Spend a refresh token on new tokens',
  description:
    'A token spent within the last 10 seconds answers its successor again; one spent longer ago ends the session.',
  authenticated: false,
  body: { schema: schemas.RefreshTokenGrant, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'New tokens', schema: schemas.Tokens } },
  problems: { 401: 'The refresh token is not valid, or no longer' },
})

export const revokeToken = operation({
  id: 'revokeToken',
  method: 'post',
  path: '/api/token/revoke/',
  tag: 'Accounts',
  summary: 'Log out: end the session of a refresh token (RFC 7009)',
  authenticated: false,
  body: { schema: schemas.RefreshTokenGrant, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'Whatever the token was, it is not valid any more' } },
})

export const listSessions = operation({
  id: 'listSessions',
  method: 'get',
  path: '/api/sessions/',
  tag: 'Accounts',
  summary: "List the caller's live sessions",
  authenticated: true,
  query: schemas.SessionListQuery,
  answers: {
    200: {
      description: 'A page, newest first',
      schema: schemas.SessionPage,
      headers: { Link: 'The same URLs as next and previous (RFC 8288)' },
    },
  },
})

export const endSession = operation({
  id: 'endSession',
  method: 'delete',
  path: '/api/sessions/:id/',
  tag: 'Accounts',
  summary: "End one of the caller's sessions",
  authenticated: true,
  answers: { 204: { description: 'Its tokens are not valid any more' } },
  problems: { 404: 'The caller has no such live session' },
})

export const getMe = operation({
  id: 'getMe',
  method: 'get',
  path: '/api/users/me/',
  tag: 'Accounts',
  summary: 'Read the own account',
  authenticated: true,
  answers: { 200: { description: 'The account', schema: schemas.User } },
})

export const changeMe = operation({
  id: 'changeMe',
  method: 'patch',
  path: '/api/users/me/',
  tag: 'Accounts',
  summary: 'Change the own e-mail address or password',
  description: 'A new password needs the current one, and ends every session but the one it is changed in.',
  authenticated: true,
  body: { schema: schemas.UserChange, mediaTypes: ['application/json', 'application/merge-patch+json'] },
  answers: { 200: { description: 'The account as it is now', schema: schemas.User } },
  problems: { 503: busy },
})

export const deleteMe = operation({
  id: 'deleteMe',
  method: 'delete',
  path: '/api/users/me/',
  tag: 'Accounts',
  summary: 'Delete the own account and its tasks',
  authenticated: true,
  body: { schema: schemas.UserDeletion, mediaTypes: ['application/json'] },
  answers: { 204: { description: 'Gone; tasks that were assigned to it are unassigned' } },
  problems: { 503: busy },
})

export const listUsers = operation({
  id: 'listUsers',
  method: 'get',
  path: '/api/users/',
  tag: 'Accounts',
  summary: 'Find users to assign tasks to: up to 20, by name',
  authenticated: true,
  query: schemas.UserSearch,
  answers: { 200: { description: 'By name', schema: schemas.UserList } },
})
