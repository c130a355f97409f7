/** Password hashing: the port, the rules every bcrypt keeps to, and the queue in front of it. */

export type PasswordHasher = {
  /** A `$2b$` hash, which every bcrypt here verifies. */
  hash(password: string): Promise<string>
  /** `hash` is null for an unknown user: the same work is done as for a known one, and the answer is false. */
  verify(password: string, hash: string | null): Promise<boolean>
  /** Whether a hash made now would cost as much. */
  isCurrent(hash: string): boolean
}

/** What an implementation of bcrypt supplies. */
export type Bcrypt = {
  hash(password: string, cost: number): Promise<string>
  compare(password: string, hash: string): Promise<boolean>
}

/** bcrypt reads no further: what is longer must be refused, since two such passwords could be the same to it. */
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
 * Nobody's hash. Salt and digest are well-formed to their last bits: @node-rs/bcrypt answers false to any other without
 * hashing, and the time of the answer would tell which users exist.
 */
export function dummyHash(cost: number): string {
  const salt = 'abcdefghijklmnopqrstuu'
  const digest = '.'.repeat(31)
  return `${prefixOf(cost)}${salt}${digest}`
}

/**
 * At most `concurrency` hashes at a time; `queueLimit` more wait, first come first served.
 * @throws HasherBusyError beyond that, at once.
 */
export function bounded(
  hasher: PasswordHasher,
  { concurrency, queueLimit }: { concurrency: number; queueLimit: number },
): PasswordHasher & { load(): { running: number; waiting: number } } {
  const waiting: (() => void)[] = []
  let running = 0

  async function run<T>(work: () => Promise<T>): Promise<T> {
    if (running < concurrency) running++
    else if (waiting.length < queueLimit) await new Promise<void>((turn) => waiting.push(turn))
    else throw new HasherBusyError('too many passwords are being hashed')
    try {
      return await work()
    } finally {
      // The place is handed on rather than freed, so that nobody who comes meanwhile overtakes.
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }

  return {
    hash: (password) => run(() => hasher.hash(password)),
    verify: (password, hash) => run(() => hasher.verify(password, hash)),
    isCurrent: hasher.isCurrent,
    load: () => ({ running, waiting: waiting.length }),
  }
}
