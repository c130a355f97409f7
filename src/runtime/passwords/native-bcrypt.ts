/** bcrypt in native code, on libuv's thread pool. */
import type { Bcrypt } from '../../ports/passwords.ts'

/** Rejects where the package or its binary for this platform is not installed, or does not work. */
export async function loadNativeBcrypt(): Promise<Bcrypt> {
  const { hash, verify } = await import('@node-rs/bcrypt')
  return {
    hash: (password, cost) => hash(password, cost),
    compare: (password, encoded) => verify(password, encoded),
  }
}
