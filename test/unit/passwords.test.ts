import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { getRounds } from 'bcryptjs'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  type Bcrypt,
  createPasswordHasher,
  dummyHash,
  HasherBusyError,
  queued,
  queueLimits,
} from '../../src/ports/passwords.ts'
import { bcryptjs } from '../../src/runtime/passwords/bcryptjs.ts'
import { bcryptjsPool } from '../../src/runtime/passwords/bcryptjs-pool.ts'
import { loadNativeBcrypt } from '../../src/runtime/passwords/native-bcrypt.ts'
import { createNodeHasher } from '../../src/runtime/passwords/password-hasher.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** The lowest cost, for tests that are not about time. */
const cheap = 4
const patience = { timeout: 60_000 }

let directory: string
let workerEntry: string
let native: Bcrypt

beforeAll(async () => {
  // Within the project, so that the bundles find its packages.
  directory = await mkdtemp(join(root, 'node_modules/.test-passwords-'))
  workerEntry = await bundle('bcrypt-worker', {
    entryPoints: [join(root, 'src/runtime/passwords/bcrypt-worker.ts')],
  })
  native = await loadNativeBcrypt()
})
afterAll(() => rm(directory, { recursive: true, force: true }))

async function bundle(
  name: string,
  input: { entryPoints: string[] } | { stdin: { contents: string; resolveDir: string } },
) {
  const outfile = join(directory, `${name}.mjs`)
  await build({ ...input, outfile, bundle: true, packages: 'external', platform: 'node', format: 'esm' })
  return outfile
}

const pool = (size: number) => bcryptjsPool({ workerEntry, size })

describe('every bcrypt', () => {
  const password = 'pässword 🔑 of some length'

  test('verifies the hashes of every other', async () => {
    const all = { native, bcryptjs, pool: pool(1) }
    for (const [maker, { hash }] of Object.entries(all)) {
      const made = await hash(password, cheap)
      expect(made, maker).toMatch(/^\$2b\$04\$.{53}$/)
      for (const [checker, { compare }] of Object.entries(all)) {
        expect(await compare(password, made), `${checker} on a hash by ${maker}`).toBe(true)
        expect(await compare(`${password}!`, made), `${checker} on a hash by ${maker}`).toBe(false)
      }
    }
  })

  test('reads all of the 72 bytes there may be', async () => {
    const longest = 'ä'.repeat(36)
    for (const bcrypt of [native, bcryptjs]) {
      const hasher = createPasswordHasher(bcrypt, cheap)
      const made = await hasher.hash(longest)
      expect(await hasher.verify(longest, made)).toBe(true)
      expect(await hasher.verify(`${'ä'.repeat(35)}ö`, made)).toBe(false)
    }
  })
})

describe('the password hasher', () => {
  test('refuses what bcrypt would cut', async () => {
    const hasher = createPasswordHasher(bcryptjs, cheap)
    const tooLong = `${'ä'.repeat(36)}a`
    await expect(hasher.hash(tooLong)).rejects.toThrow(RangeError)
    await expect(hasher.verify(tooLong, await hasher.hash('a'))).rejects.toThrow(RangeError)
    await expect(hasher.verify(tooLong, null)).rejects.toThrow(RangeError)
  })

  test('compares with a hash of its own cost for an unknown user, and answers false whatever comes out', async () => {
    const compare = vi.fn(async () => true)
    for (const cost of [4, 10, 15]) {
      const hasher = createPasswordHasher({ ...bcryptjs, compare }, cost)
      expect(await hasher.verify('password', null)).toBe(false)
      expect(compare).toHaveBeenLastCalledWith('password', dummyHash(cost))
      expect(dummyHash(cost)).toMatch(/^\$2b\$\d\d\$/)
      expect(getRounds(dummyHash(cost))).toBe(cost)
    }
  })

  test.each(['native', 'bcryptjs'])('does the work for an unknown user: %s', async (name) => {
    const hasher = createPasswordHasher(name === 'native' ? native : bcryptjs, 10)
    const known = await hasher.hash('password')
    const least = async (hash: string | null) => {
      const times = []
      for (let i = 0; i < 3; i++) times.push(await timeTaken(() => hasher.verify('guess', hash)))
      return Math.min(...times)
    }
    // A hash that is not even tried takes a thousandth.
    expect(await least(null)).toBeGreaterThan((await least(known)) / 4)
  })
})

describe('a queued hasher', () => {
  const asker = { address: '192.0.2.1' }

  test('refuses more than there is room for, and goes on after a hash that fails', async () => {
    const limits = { concurrency: 1, queueLimit: 1, waitMs: 60_000 }
    const queue = queued(createPasswordHasher(bcryptjs, cheap), limits)
    const { hash, verify } = queue.for(asker)
    const results = await Promise.allSettled([hash('a'.repeat(73)), hash('a'), verify('a', null)])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected'])
    await expect((results[2] as PromiseRejectedResult).reason).toBeInstanceOf(HasherBusyError)
    expect(await hash('a')).toMatch(/^\$2b\$/)
    expect(queue.load()).toEqual({ running: 0, waiting: 0 })
  })
})

describe('the event loop', () => {
  let onThisThread: number
  beforeAll(async () => {
    onThisThread = await longestStall(bcryptjs)
  })

  test.each([
    ['native', () => native],
    ['threads', () => pool(2)],
  ])('turns while %s hash', async (_, bcrypt) => {
    // About 10 ms against a second: half is far from both, on any machine.
    expect(await longestStall(bcrypt())).toBeLessThan(onThisThread / 2)
  })

  /** Milliseconds, over 24 hashes at once. */
  async function longestStall(bcrypt: Bcrypt): Promise<number> {
    const hasher = createPasswordHasher(bcrypt, 10)
    await hasher.hash('the threads have started')
    const delay = monitorEventLoopDelay({ resolution: 10 })
    delay.enable()
    // It measures from one sample to the next: a stall before the first or after the last is not in it.
    await vi.waitFor(() => expect(delay.count).toBeGreaterThan(0), patience)
    await Promise.all(Array.from({ length: 24 }, (_, i) => hasher.hash(`password ${i}`)))
    const seen = delay.count
    await vi.waitFor(() => expect(delay.count).toBeGreaterThan(seen), patience)
    delay.disable()
    return delay.max / 1e6
  }
})

describe('the pool of threads', () => {
  test('rejects the jobs of a thread that dies, and replaces it', async () => {
    const fragile = join(directory, 'fragile-worker.mjs')
    await writeFile(
      fragile,
      `import { parentPort } from 'node:worker_threads'
      import ${JSON.stringify(pathToFileURL(workerEntry).href)}
      parentPort.on('message', ({ password }) => { if (password === 'die') process.exit(1) })`,
    )
    const { hash, compare } = bcryptjsPool({ workerEntry: fragile, size: 1 })
    const made = await hash('password', cheap)
    const results = await Promise.allSettled([
      hash('die', cheap),
      hash('behind it', cheap),
      compare('password', made),
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(await compare('password', made)).toBe(true)
  })

  test('says why a job failed', async () => {
    const ofNoBcrypt = `$9b$04$${'.'.repeat(53)}`
    await expect(pool(1).compare('password', ofNoBcrypt)).rejects.toThrow('salt version')
    const missing = bcryptjsPool({ workerEntry: join(directory, 'missing.mjs'), size: 1 })
    await expect(missing.hash('password', cheap)).rejects.toMatchObject({
      cause: expect.objectContaining({ message: expect.stringContaining('missing.mjs') }),
    })
  })
})

describe('the hasher of a Node process', () => {
  test('is native where that loads, and says so once', async () => {
    const log = { info: vi.fn(), warn: vi.fn() }
    const hasher = (await createNodeHasher({ cost: cheap, workerEntry, log })).for({ address: '192.0.2.1' })
    expect(await hasher.verify('password', await hasher.hash('password'))).toBe(true)
    expect(log.info).toHaveBeenCalledTimes(1)
    expect(log.info).toHaveBeenCalledWith(expect.stringContaining('native'), expect.anything())
    expect(log.warn).not.toHaveBeenCalled()
  })

  test('is the pool where the binary does not load; idle threads let the process end', async () => {
    const { stdout } = await runWithoutBinary(workerEntry)
    const { verified, refused, lines } = JSON.parse(stdout.replace('started', ''))
    expect({ verified, refused }).toEqual({ verified: true, refused: false })
    expect(lines).toEqual([expect.stringContaining('bcryptjs')])
  })

  test('is none where neither works: the process does not start', async () => {
    await expect(runWithoutBinary(join(directory, 'missing.mjs'))).rejects.toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('missing.mjs'),
    })
  })

  test('queues what it can hash in 10 s', () => {
    const limitFor = (cost: number, concurrency: number) => queueLimits(cost, concurrency).queueLimit
    expect([limitFor(10, 1), limitFor(10, 3), limitFor(12, 1), limitFor(15, 2)]).toEqual([100, 300, 25, 6])
  })
})

/** A process of its own, which ends by itself or fails the test. */
async function runWithoutBinary(worker: string) {
  const program = await bundle('program', {
    stdin: {
      resolveDir: root,
      contents: `
        import { createNodeHasher } from './src/runtime/passwords/password-hasher.ts'
        const lines = []
        const note = (message) => lines.push(message)
        const queue = await createNodeHasher({ cost: 4, workerEntry: process.argv[2], log: { info: note, warn: note } })
        const hasher = queue.for({ address: '192.0.2.1' })
        console.log('started')
        const hash = await hasher.hash('password')
        const verified = await hasher.verify('password', hash)
        const refused = await hasher.verify('guess', hash)
        console.log(JSON.stringify({ verified, refused, lines }))`,
    },
  })
  const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: join(directory, 'no.node') }
  return promisify(execFile)(process.execPath, [program, worker], { env, timeout: 60_000 })
}

/** Of the processor, which other programs can't draw out, in microseconds. */
async function timeTaken(work: () => Promise<unknown>): Promise<number> {
  const begun = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(begun)
  return user + system
}
