/** Rules for new passwords, and the forms in which passwords are hashed and compared. */
import { maximumPasswordBytes } from '../ports/passwords.ts'
import { commonPasswords } from './common-passwords/list.ts'

/**
 * In UTF-16 code units. Whatever is longer has over 72 bytes in NFKC, which takes at most two units a byte. It is
 * refused before it is normalised: the time for that grows with the square of a run of combining marks.
 */
export const longestPassword = 2 * maximumPasswordBytes

export const isShortEnough = (form: string) => new TextEncoder().encode(form).length <= maximumPasswordBytes

/**
 * The forms of a password that a hash may have been made of. The first is the one to hash: its NFKC, so that it does
 * not matter how a keyboard composes characters. The other is as it was typed: hashes were made of that before.
 */
export function passwordForms(password: string): string[] {
  return [...new Set([password.normalize('NFKC'), password])].filter(isShortEnough)
}

export const isCommon = (password: string) => commonPasswords.has(password.toLowerCase())

export const isSameName = (password: string, username: string) =>
  password.length <= longestPassword && password.normalize('NFKC').toLowerCase() === username.toLowerCase()

/** Says what is wrong with a password for which `isSameName` holds. */
export const isName = 'It must not be the username.'
