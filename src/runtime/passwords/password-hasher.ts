/** The password hasher on Node: native bcrypt, or bcryptjs where the native binary does not load. */
import { availableParallelism } from 'node:os'
import type { Logger } from '../../core/log.ts'
import { type Bcrypt, createPasswordHasher, queued, queueLimits } from '../../ports/passwords.ts'
import { bcryptjs } from './bcryptjs.ts'

type HasherOptions = {
  cost: number
  /** Processes that share the machine's cores. */
  processes?: number
  log: Pick<Logger, 'info' | 'warn'>
}

/** A start without native bcrypt warns: bcryptjs hashes on the main thread, where requests wait for it. */
export async function createNodeHasher({ cost, processes = 1, log }: HasherOptions) {
  const native = await openNative().catch((error: Error) => {
    log.warn('native bcrypt does not load: passwords are hashed by bcryptjs, and requests wait meanwhile', {
      cost,
      reason: error.message,
    })
  })
  const concurrency = native ? nativeConcurrency(processes) : 1
  if (native) log.info('passwords are hashed by native bcrypt', { cost, concurrency })
  return queued(createPasswordHasher(native ?? bcryptjs, cost), queueLimits(cost, concurrency))
}

/** Native bcrypt, on libuv's thread pool. @throws Error when the package or its binary is missing */
export async function loadNativeBcrypt(): Promise<Bcrypt> {
  const { hash, verify } = await import('@node-rs/bcrypt')
  return { hash: (password, cost) => hash(password, cost), compare: verify }
}

/** Tries it for about 1 ms. @throws Error when the binary is missing or hashes wrongly */
async function openNative(): Promise<Bcrypt> {
  const bcrypt = await loadNativeBcrypt()
  if (!(await bcrypt.compare('trial', await bcrypt.hash('trial', 4))))
    throw new Error('bcrypt does not verify its own hash')
  return bcrypt
}

/**
 * One core is left to requests. Hashes share libuv's threads (4 by default) with file access, name look-ups
 * and WebCrypto, which verifies access tokens: one thread is left to those.
 */
function nativeConcurrency(processes: number): number {
  const cores = Math.floor((availableParallelism() - 1) / processes)
  const threads = (Number(process.env.UV_THREADPOOL_SIZE) || 4) - 1
  return Math.max(1, Math.min(cores, threads))
}
