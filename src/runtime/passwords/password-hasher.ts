/** The password hasher of a Node process: native where that works, else bcryptjs on threads. */
import { availableParallelism } from 'node:os'
import type { Logger } from '../../core/log.ts'
import { type Bcrypt, createPasswordHasher, queued, queueLimits } from '../../ports/passwords.ts'
import { bcryptjsPool } from './bcryptjs-pool.ts'
import { loadNativeBcrypt } from './native-bcrypt.ts'

type HasherOptions = {
  cost: number
  /** The bundled `bcrypt-worker.ts`. */
  workerEntry: string | URL
  /** How many processes share the machine's cores; 1 by default. */
  processes?: number
  log: Pick<Logger, 'info' | 'warn'>
}

/**
 * Hashes on one core fewer than there are, so that one is left for requests, or on this process's share of those, and logs
 * which bcrypt it is.
 * Rejects when neither works: a process that cannot check a password should not start.
 */
export async function createNodeHasher({
  cost,
  workerEntry,
  processes = 1,
  log,
}: HasherOptions): Promise<ReturnType<typeof queued>> {
  const cores = Math.max(1, Math.floor((availableParallelism() - 1) / processes))
  const native = await tryNative()
  if (native.bcrypt) {
    const concurrency = Math.min(cores, nativeThreads())
    log.info('passwords are hashed by native bcrypt', { cost, concurrency })
    return queued(createPasswordHasher(native.bcrypt, cost), queueLimits(cost, concurrency))
  }
  const pool = bcryptjsPool({ workerEntry, size: cores })
  await proveWorking(pool)
  log.warn('passwords are hashed by bcryptjs, on threads: native bcrypt does not load here', {
    cost,
    concurrency: cores,
    reason: native.reason,
  })
  return queued(createPasswordHasher(pool, cost), queueLimits(cost, cores))
}

async function tryNative(): Promise<{ bcrypt: Bcrypt } | { bcrypt: undefined; reason: string }> {
  try {
    const bcrypt = await loadNativeBcrypt()
    await proveWorking(bcrypt)
    return { bcrypt }
  } catch (error) {
    return { bcrypt: undefined, reason: error instanceof Error ? error.message : String(error) }
  }
}

/** About a millisecond of work, at the lowest cost there is. */
async function proveWorking(bcrypt: Bcrypt): Promise<void> {
  const hash = await bcrypt.hash('proof', 4)
  if (!(await bcrypt.compare('proof', hash))) throw new Error('bcrypt does not verify its own hash')
}

/**
 * Native hashes share libuv's threads, of which Node has 4 unless told otherwise, with file access, name look-ups and
 * WebCrypto, which verifies access tokens: one is left to those.
 */
const nativeThreads = () => Math.max(1, (Number(process.env.UV_THREADPOOL_SIZE) || 4) - 1)
