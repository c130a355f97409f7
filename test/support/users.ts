import { beforeAll } from 'vitest'
import type { createClient, User } from './client.ts'

/** A user that is registered before the tests of the file run: its members exist only inside of tests. */
export function registerBeforeAll({ register }: Pick<ReturnType<typeof createClient>, 'register'>): User {
  const user = {} as User
  beforeAll(async () => {
    Object.assign(user, await register())
  })
  return user
}
