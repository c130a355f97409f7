/** Password hashing: the port, the rules for every bcrypt, and the queue in front of it. */
import { type Asker, type FairQueue, fairQueue, type QueueLimits } from '../core/fair-queue.ts'

export type PasswordHasher = {
  /** Resolves with a `$2b$` hash, which every bcrypt verifies. */
  hash(password: string): Promise<string>
  /** `hash` is null for an unknown user: takes as long as for a known one, and resolves with false. */
  verify(password: string, hash: string | null): Promise<boolean>
  /** Whether the hash has the configured cost. */
  isCurrent(hash: string): boolean
}

export type Bcrypt = {
  hash(password: string, cost: number): Promise<string>
  compare(password: string, hash: string): Promise<boolean>
}

/** bcrypt ignores further bytes. Longer passwords must be refused: two of them could be the same to it. */
export const maximumPasswordBytes = 72

/** The queue has no room or no time for another hash: the caller answers 503. */
export class HasherBusyError extends Error {
  override name = 'HasherBusyError'
}

const prefixOf = (cost: number) => `$2b$${String(cost).padStart(2, '0')}$`

/** Rejects with RangeError for a password over 72 bytes of UTF-8. Callers refuse those before. */
export function createPasswordHasher(bcrypt: Bcrypt, cost: number): PasswordHasher {
  const dummy = dummyHash(cost)
  return {
    async hash(password) {
      assertReadable(password)
      return bcrypt.hash(password, cost)
    },
    async verify(password, hash) {
      assertReadable(password)
      const same = await bcrypt.compare(password, hash ?? dummy)
      return hash !== null && same
    },
    isCurrent: (hash) => hash.startsWith(prefixOf(cost)),
  }
}

function assertReadable(password: string): void {
  if (new TextEncoder().encode(password).length > maximumPasswordBytes) {
    throw new RangeError(`a password over ${maximumPasswordBytes} bytes reached the hasher`)
  }
}

/**
 * Returns a hash of no password. Salt and digest are well-formed to their last bits: @node-rs/bcrypt refuses
 * any other without hashing, and the response time would tell which users exist.
 */
export function dummyHash(cost: number): string {
  return `${prefixOf(cost)}abcdefghijklmnopqrstuu${'.'.repeat(31)}`
}

/** Returns hashers whose jobs wait in the queue as jobs of their asker. */
export type PasswordQueue = { for(asker: Asker): PasswordHasher }

/** Its jobs reject with HasherBusyError when the queue has no room or no time for them. */
export function queued(
  hasher: PasswordHasher,
  limits: QueueLimits,
): PasswordQueue & { load: FairQueue['load'] } {
  const { run, load } = fairQueue(limits, () => new HasherBusyError('too many passwords are being hashed'))
  return {
    for: (asker) => ({
      hash: (password) => run(asker, () => hasher.hash(password)),
      verify: (password, hash) => run(asker, () => hasher.verify(password, hash)),
      isCurrent: hasher.isCurrent,
    }),
    load,
  }
}

/**
 * Allows as many waiting jobs as are hashed in 10 s: clients and proxies give up not much later. A hash at
 * cost 10 counts as 100 ms (native takes 65, bcryptjs 100), and each further cost doubles it.
 */
export function queueLimits(cost: number, concurrency: number): QueueLimits {
  const hashMs = 100 * 2 ** (cost - 10)
  const queueLimit = concurrency * Math.max(1, Math.floor(10_000 / hashMs))
  // Twice as long, since the machine may be slower, and the last of many jobs of an address lets others pass.
  return { concurrency, queueLimit, waitMs: 20_000 }
}

/** For an environment that serves one request at a time. */
export const unqueued = (hasher: PasswordHasher): PasswordQueue => ({ for: () => hasher })

/** Jobs go on when their client has left: cancelled with their request, they would block the queue. */
export function outliving(queue: PasswordQueue, background: (work: Promise<void>) => void): PasswordQueue {
  function kept<T>(work: Promise<T>): Promise<T> {
    const ended = () => {}
    background(work.then(ended, ended))
    return work
  }
  return {
    for(asker) {
      const hasher = queue.for(asker)
      return {
        hash: (password) => kept(hasher.hash(password)),
        verify: (password, hash) => kept(hasher.verify(password, hash)),
        isCurrent: hasher.isCurrent,
      }
    },
  }
}
