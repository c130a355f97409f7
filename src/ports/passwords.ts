/** Password hashing: the port, the rules every bcrypt keeps to, and the queue in front of it. */
import { type Asker, type FairQueue, fairQueue, type QueueLimits } from '../core/fair-queue.ts'

export type PasswordHasher = {
  /** A `$2b$` hash, which every bcrypt here verifies. */
  hash(password: string): Promise<string>
  /**
   * `hash` is null for an unknown user: the same work is done as for a known one, and the answer is false.
   */
  verify(password: string, hash: string | null): Promise<boolean>
  /** Whether a hash made now would cost as much. */
  isCurrent(hash: string): boolean
}

/** What an implementation of bcrypt supplies. */
export type Bcrypt = {
  hash(password: string, cost: number): Promise<string>
  compare(password: string, hash: string): Promise<boolean>
}

/**
 * bcrypt reads no further: what is longer must be refused, since two such passwords could be the same to it.
 */
export const maximumPasswordBytes = 72

/** More is to be hashed than the machine will get to in time: the caller answers 503. */
export class HasherBusyError extends Error {
  override name = 'HasherBusyError'
}

const prefixOf = (cost: number) => `$2b$${String(cost).padStart(2, '0')}$`

/** Both verbs reject with RangeError for a password over 72 bytes of UTF-8, which callers refuse before. */
export function createPasswordHasher(bcrypt: Bcrypt, cost: number): PasswordHasher {
  const nobody = dummyHash(cost)
  return {
    async hash(password) {
      assertReadable(password)
      return bcrypt.hash(password, cost)
    },
    async verify(password, hash) {
      assertReadable(password)
      const same = await bcrypt.compare(password, hash ?? nobody)
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
 * Nobody's hash. Salt and digest are well-formed to their last bits: @node-rs/bcrypt answers false to any
 * other without hashing, and the time of the answer would tell which users exist.
 */
export function dummyHash(cost: number): string {
  const salt = 'abcdefghijklmnopqrstuu'
  const digest = '.'.repeat(31)
  return `${prefixOf(cost)}${salt}${digest}`
}

/** Hands out hashers, each of which waits in the queue in the name of its asker. */
export type PasswordQueue = { for(asker: Asker): PasswordHasher }

/** A hasher's jobs reject with HasherBusyError when the queue has no room or no time for them. */
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
 * As many jobs wait as are done in 10 s: clients and proxies give up not much later. A hash at cost 10 is
 * reckoned as 100 ms (native takes 65, bcryptjs 100), and each further cost doubles it.
 */
export function queueLimits(cost: number, concurrency: number): QueueLimits {
  const hashMs = 100 * 2 ** (cost - 10)
  const queueLimit = concurrency * Math.max(1, Math.floor(10_000 / hashMs))
  // Twice as long: the machine may be slower, and the last of many jobs of an address lets others pass.
  return { concurrency, queueLimit, waitMs: 20_000 }
}

/** For an environment that has one request at a time. */
export const unqueued = (hasher: PasswordHasher): PasswordQueue => ({ for: () => hasher })

/**
 * A queue whose jobs go on when their own client has left. Where the platform would stop them with their
 * request, those behind would wait in vain.
 */
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
