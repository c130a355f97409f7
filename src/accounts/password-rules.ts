/** Rules for new passwords, and the forms in which passwords are hashed and compared. */
import { maximumPasswordBytes } from '../ports/passwords.ts'
import { commonPasswords } from './common-passwords/list.ts'

/**
 * In UTF-16 code units. A longer password has over 72 bytes in NFKC, which has at most two units for a byte.
 * It is refused before it is normalised, since that takes time quadratic in a run of combining marks.
 */
export const longestPassword = 2 * maximumPasswordBytes

export const isShortEnough = (form: string) => new TextEncoder().encode(form).length <= maximumPasswordBytes

/**
 * The forms of a password that a hash may have been made from. New hashes use the first, its NFKC, so that it
 * does not matter how a keyboard composes characters. Older hashes used the second, the password as typed.
 */
export function passwordForms(password: string): string[] {
  return [...new Set([password.normalize('NFKC'), password])].filter(isShortEnough)
}

export const isCommon = (password: string) => commonPasswords.has(password.toLowerCase())

export const isSameName = (password: string, username: string) =>
  password.length <= longestPassword && password.normalize('NFKC').toLowerCase() === username.toLowerCase()

/** The message for a password for which `isSameName` holds. */
export const isName = 'It must not be the username.'
