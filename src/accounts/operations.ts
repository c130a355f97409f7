/** The account operations as clients see them. */
import { operation } from '../http/operation.ts'
import * as schemas from './schemas.ts'

const tag = {
  name: 'Accounts',
  description: 'Users, the sessions in which they are logged in, and the tokens of those',
}

const jsonOrForm: ('application/json' | 'application/x-www-form-urlencoded')[] = [
  'application/json',
  'application/x-www-form-urlencoded',
]
const busy = 'Too many passwords are being checked, or the database is away; see Retry-After'

const ann = {
  id: 1,
  username: 'ann',
  email: 'ann@example.com',
  created_at: '2026-11-22T07:04:05.123Z',
}
const credentials = { username: 'ann', password: 'correct horse battery staple' }
const tokens = {
  access_token: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl',
  token_type: 'Bearer',
  expires_in: 3600,
  refresh_token: 'MTIuMS5hLW1hYw',
}
const { refresh_token } = tokens

export const register = operation({
  id: 'register',
  limit: { class: 'registration', cost: 1 },
  method: 'post',
  path: '/api/register/',
  tag,
  summary: 'Make an account',
  description:
    'Case does not matter in a username: Ann is taken once ann is. The e-mail address is shown to nobody else.',
  authenticated: false,
  body: { schema: schemas.Registration, mediaTypes: jsonOrForm },
  answers: { 201: { description: 'The account', schema: schemas.User } },
  problems: { 403: 'Registration is closed', 409: 'The username is taken', 503: busy },
  examples: {
    'With an e-mail address': { body: { ...credentials, email: ann.email }, answer: ann },
    Without: { body: credentials, answer: { ...ann, email: null } },
  },
})

export const createToken = operation({
  id: 'createToken',
  limit: { class: 'token', cost: 1 },
  method: 'post',
  path: '/api/token/',
  tag,
  summary: 'Log in',
  description: 'A user has at most 1,000 sessions: the one that was refreshed longest ago ends for one more.',
  authenticated: false,
  body: { schema: schemas.Credentials, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'Tokens of a new session', schema: schemas.Tokens } },
  problems: { 401: 'The username or the password is wrong', 503: busy },
  examples: { 'A login': { body: credentials, answer: tokens } },
})

export const refreshToken = operation({
  id: 'refreshToken',
  limit: { class: 'token', cost: 1 },
  method: 'post',
  path: '/api/token/refresh/',
  tag,
  summary: 'Spend a refresh token on new tokens',
  description:
    'A token spent within the last 10 seconds answers its successor again; one spent longer ago ends the session.',
  authenticated: false,
  body: { schema: schemas.RefreshTokenGrant, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'New tokens', schema: schemas.Tokens } },
  problems: { 401: 'The refresh token is not valid, or no longer' },
  examples: { 'A refresh': { body: { refresh_token }, answer: tokens } },
})

export const revokeToken = operation({
  id: 'revokeToken',
  limit: { class: 'token', cost: 1 },
  method: 'post',
  path: '/api/token/revoke/',
  tag,
  summary: 'Log out: end the session of a refresh token (RFC 7009)',
  description: 'The access tokens of the session are not valid any more either, at once.',
  authenticated: false,
  body: { schema: schemas.RefreshTokenGrant, mediaTypes: jsonOrForm },
  answers: { 200: { description: 'Whatever the token was, it is not valid any more' } },
  examples: { 'A logout': { body: { refresh_token } } },
})

export const listSessions = operation({
  id: 'listSessions',
  method: 'get',
  path: '/api/sessions/',
  tag,
  summary: "List the caller's live sessions",
  description:
    'Each login begins a session; it lives until it is logged out, or is not refreshed for too long.',
  authenticated: true,
  paged: true,
  query: schemas.SessionListQuery,
  answers: { 200: { description: 'A page, newest first', schema: schemas.SessionPage, headers: ['Link'] } },
  examples: {
    'One session': {
      answer: {
        next: null,
        previous: null,
        next_cursor: null,
        results: [
          {
            id: 12,
            created_at: '2026-11-22T07:04:05.123Z',
            last_used_at: '2026-11-22T08:00:00.000Z',
            expires_at: '2026-12-22T08:00:00.000Z',
            user_agent: 'HTTPie/3.2.4',
            current: true,
          },
        ],
      },
    },
  },
})

export const endSession = operation({
  id: 'endSession',
  method: 'delete',
  path: '/api/sessions/:id/',
  tag,
  summary: "End one of the caller's sessions",
  description: 'It is logged out at once. That may be the session of the request itself.',
  authenticated: true,
  answers: { 204: { description: 'Its tokens are not valid any more' } },
  problems: { 404: 'The caller has no such live session' },
  examples: { 'A session': {} },
})

export const getMe = operation({
  id: 'getMe',
  method: 'get',
  path: '/api/users/me/',
  tag,
  summary: 'Read the own account',
  description: 'The account that the access token belongs to.',
  authenticated: true,
  answers: { 200: { description: 'The account', schema: schemas.User } },
  examples: { 'The caller': { answer: ann } },
})

export const changeMe = operation({
  id: 'changeMe',
  method: 'patch',
  path: '/api/users/me/',
  tag,
  summary: 'Change the own e-mail address or password',
  description: 'A new password needs the current one, and ends every session but the one it is changed in.',
  authenticated: true,
  body: { schema: schemas.UserChange, mediaTypes: ['application/json', 'application/merge-patch+json'] },
  answers: { 200: { description: 'The account as it is now', schema: schemas.User } },
  problems: { 503: busy },
  examples: {
    'A new e-mail address': { body: { email: ann.email }, answer: ann },
    'No e-mail address': { body: { email: null }, answer: { ...ann, email: null } },
    'A new password': {
      body: { password: 'a longer horse battery staple', current_password: credentials.password },
      answer: ann,
    },
  },
})

export const deleteMe = operation({
  id: 'deleteMe',
  method: 'delete',
  path: '/api/users/me/',
  tag,
  summary: 'Delete the own account and its tasks',
  description: 'It needs the password again. All tokens of the account stop working at once.',
  authenticated: true,
  body: { schema: schemas.UserDeletion, mediaTypes: ['application/json'] },
  answers: { 204: { description: 'Gone; tasks that were assigned to it are unassigned' } },
  problems: { 503: busy },
  examples: { 'The caller': { body: { password: credentials.password } } },
})

export const listUsers = operation({
  id: 'listUsers',
  method: 'get',
  path: '/api/users/',
  tag,
  summary: 'Find users to assign tasks to: up to 20, by name',
  description: 'E-mail addresses are neither searched nor shown.',
  authenticated: true,
  query: schemas.UserSearch,
  answers: { 200: { description: 'By name', schema: schemas.UserList } },
  examples: {
    'By the beginning of a name': {
      query: { search: 'an' },
      answer: { results: [{ id: 1, username: 'ann' }] },
    },
  },
})
