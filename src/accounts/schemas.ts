/** Schemas of what the account operations take and answer. */
import * as z from 'zod'
import { maximumBodyBytes } from '../http/body.ts'
import { Cursor, Limit } from '../http/page.ts'
import { hasOneOf, Id, isObject, Timestamp } from '../http/schemas.ts'
import { text } from '../http/text.ts'
import { maximumPasswordBytes } from '../ports/passwords.ts'
import { isEmailAddress } from './email-address.ts'
import {
  isCommon,
  isName,
  isSameName,
  isShortEnough,
  longestPassword,
  passwordForms,
} from './password-rules.ts'

const Username = text({ minimum: 1, maximum: 150, trim: true })
  .regex(/^[A-Za-z0-9@.+_-]*$/, 'It may have ASCII letters, digits and @ . + - _ only.')
  .describe('Case is kept but never matters')

const tooLong = `It must have at most ${maximumPasswordBytes} bytes in UTF-8.`
const readablePassword = z
  .string()
  .refine((password) => password.length <= longestPassword, { error: tooLong, abort: true })

const NewPassword = readablePassword
  .normalize('NFKC')
  .pipe(
    text({ minimum: 8, maximum: longestPassword })
      .refine(isShortEnough, tooLong)
      .refine((password) => !isCommon(password), 'It is one of the most common passwords.'),
  )
  .describe(
    `Once normalised to NFKC: at least 8 characters and at most ${maximumPasswordBytes} bytes in UTF-8. Not the username, ` +
      'and none of the thousand most common passwords.',
  )

/** A password at login: a short one is simply wrong. */
const Password = readablePassword.pipe(
  text({ maximum: longestPassword }).refine((password) => passwordForms(password).length > 0, tooLong),
)

/** The rule is checked only for text of a right length. */
const Email = text({ maximum: 254 })
  .refine(isEmailAddress, {
    error: 'It must be an e-mail address.',
    when: ({ issues }) => issues.length === 0,
  })
  .describe("What HTML's e-mail input takes, internationalised domains included")

const NameAndPassword = z.object({ username: z.string(), password: z.string() })

export const Registration = z
  .strictObject({ username: Username, password: NewPassword, email: Email.optional() })
  .refine(({ username, password }) => !isSameName(password, username), {
    path: ['password'],
    error: isName,
    when: ({ value }) => NameAndPassword.safeParse(value).success,
  })
  .meta({ id: 'Registration' })

export const User = z
  .object({ id: Id, username: z.string(), email: z.string().nullable(), created_at: Timestamp })
  .meta({ id: 'User' })

export const UserChange = z
  .strictObject({
    email: Email.nullable().optional(),
    password: NewPassword.optional(),
    current_password: Password.optional(),
  })
  .refine(({ email, password }) => email !== undefined || password !== undefined, {
    error: 'Give an email or a password.',
    when: isObject,
  })
  .refine(({ password, current_password }) => password === undefined || current_password !== undefined, {
    path: ['current_password'],
    error: 'It is required beside a new password.',
    when: isObject,
  })
  .meta({
    id: 'UserChange',
    ...hasOneOf(['email'], ['password', 'current_password']),
    dependentRequired: { password: ['current_password'] },
  })

export const UserDeletion = z.strictObject({ password: Password }).meta({ id: 'UserDeletion' })

export const UserSearch = z.strictObject({
  search: text({ maximum: 150 }).optional().describe('Names that begin so, without case'),
})

export const UserList = z
  .object({ results: z.array(z.object({ id: Id, username: z.string() })) })
  .meta({ id: 'UserList' })

export const Credentials = z
  .strictObject({ username: text({ maximum: 150, trim: true }), password: Password })
  .meta({ id: 'Credentials' })

export const RefreshTokenGrant = z
  // Any text counts as an invalid token, which RFC 7009 answers with 200.
  .strictObject({ refresh_token: text({ maximum: maximumBodyBytes }) })
  .meta({ id: 'RefreshTokenGrant' })

export const Tokens = z
  .object({
    access_token: z.string(),
    token_type: z.literal('Bearer'),
    expires_in: z.int().describe('Seconds'),
    refresh_token: z.string(),
  })
  .meta({ id: 'Tokens' })

export const SessionListQuery = z.strictObject({ limit: Limit, cursor: Cursor })

export const SessionPage = z
  .object({
    next: z.string().nullable().describe('URL of the next page'),
    previous: z.string().nullable().describe('URL of the previous page'),
    next_cursor: z.string().nullable().describe('The cursor in next'),
    results: z.array(
      z.object({
        id: Id,
        created_at: Timestamp,
        last_used_at: Timestamp,
        expires_at: Timestamp,
        user_agent: z.string().nullable(),
        current: z.boolean(),
      }),
    ),
  })
  .meta({ id: 'SessionPage' })
