/** Native bcrypt, on libuv's thread pool. */
import type { Bcrypt } from '../../ports/passwords.ts'

/** Rejects when the package or its binary for this platform is missing. */
export async function loadNativeBcrypt(): Promise<Bcrypt> {
  const { hash, verify } = await import('@node-rs/bcrypt')
  return {
    hash: (password, cost) => hash(password, cost),
    compare: (password, encoded) => verify(password, encoded),
  }
}
