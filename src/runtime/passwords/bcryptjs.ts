/** bcrypt in plain JavaScript: runs anywhere, on the calling thread, which it holds for up to 100 ms at a time. */
import { compare, hash } from 'bcryptjs'
import type { Bcrypt } from '../../ports/passwords.ts'

export const bcryptjs: Bcrypt = {
  hash: (password, cost) => hash(password, cost),
  compare: (password, encoded) => compare(password, encoded),
}
