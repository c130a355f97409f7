/** bcrypt in JavaScript. Runs on every platform, and blocks the thread for up to 100 ms at a time. */
import { compare, hash } from 'bcryptjs'
import type { Bcrypt } from '../../ports/passwords.ts'

export const bcryptjs: Bcrypt = { hash, compare }
