import { execFileSync } from 'node:child_process'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { getRounds } from 'bcryptjs'
import { build } from 'esbuild'
import { describe, expect, test, vi } from 'vitest'
import {
  type Bcrypt,
  createPasswordHasher,
  dummyHash,
  HasherBusyError,
  queued,
  queueLimits,
} from '../../src/ports/passwords.ts'
import { bcryptjs } from '../../src/runtime/passwords/bcryptjs.ts'
import { createNodeHasher, loadNativeBcrypt } from '../../src/runtime/passwords/password-hasher.ts'
import { root } from '../support/directories.ts'

/** The lowest cost, for tests that do not measure time. */
const cheap = 4
const patience = { timeout: 60_000 }
const native = await loadNativeBcrypt()

describe('every bcrypt', () => {
  const password = 'pässword 🔑 of some length'

  test('verifies the hashes of every other', async () => {
    const all = { native, bcryptjs }
    for (const [maker, { hash }] of Object.entries(all)) {
      const made = await hash(password, cheap)
      expect(made, maker).toMatch(/^\$2b\$04\$.{53}$/)
      for (const [checker, { compare }] of Object.entries(all)) {
        expect(await compare(password, made), `${checker} on a hash by ${maker}`).toBe(true)
        expect(await compare(`${password}!`, made), `${checker} on a hash by ${maker}`).toBe(false)
      }
    }
  })

  test('reads all 72 bytes', async () => {
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
  test('refuses a password that bcrypt would cut', async () => {
    const hasher = createPasswordHasher(bcryptjs, cheap)
    const tooLong = `${'ä'.repeat(36)}a`
    await expect(hasher.hash(tooLong)).rejects.toThrow(RangeError)
    await expect(hasher.verify(tooLong, await hasher.hash('a'))).rejects.toThrow(RangeError)
    await expect(hasher.verify(tooLong, null)).rejects.toThrow(RangeError)
  })

  test('compares an unknown user with a hash of its own cost, and answers false whatever comes out', async () => {
    const compare = vi.fn(async () => true)
    for (const cost of [4, 10, 15]) {
      const hasher = createPasswordHasher({ ...bcryptjs, compare }, cost)
      expect(await hasher.verify('password', null)).toBe(false)
      expect(compare).toHaveBeenLastCalledWith('password', dummyHash(cost))
      expect(dummyHash(cost)).toMatch(/^\$2b\$\d\d\$/)
      expect(getRounds(dummyHash(cost))).toBe(cost)
    }
  })

  test.each(['native', 'bcryptjs'])('takes as long for an unknown user: %s', async (name) => {
    const hasher = createPasswordHasher(name === 'native' ? native : bcryptjs, 10)
    const known = await hasher.hash('password')
    const least = async (hash: string | null) => {
      const times = []
      for (let i = 0; i < 3; i++) times.push(await timeTaken(() => hasher.verify('guess', hash)))
      return Math.min(...times)
    }
    // An answer without hashing takes a thousandth.
    expect(await least(null)).toBeGreaterThan((await least(known)) / 4)
  })
})

describe('a queued hasher', () => {
  const asker = { address: '192.0.2.1' }

  test('refuses jobs beyond its limit, and goes on after one that fails', async () => {
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

test('native bcrypt does not block the event loop, bcryptjs does', async () => {
  // About 10 ms against 300 ms: half is far from both, on any machine.
  expect(await longestStall(native)).toBeLessThan((await longestStall(bcryptjs)) / 2)
})

/** In milliseconds, over 8 concurrent hashes. */
async function longestStall(bcrypt: Bcrypt): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 10 })
  delay.enable()
  // The monitor measures between samples: a stall before the first or after the last one would be missed.
  await vi.waitFor(() => expect(delay.count).toBeGreaterThan(0), patience)
  await Promise.all(Array.from({ length: 8 }, (_, i) => bcrypt.hash(`password ${i}`, 10)))
  const seen = delay.count
  await vi.waitFor(() => expect(delay.count).toBeGreaterThan(seen), patience)
  delay.disable()
  return delay.max / 1e6
}

describe('the hasher of a Node process', () => {
  test('is native where the binary loads, and says so in one line', async () => {
    const log = { info: vi.fn(), warn: vi.fn() }
    const hasher = (await createNodeHasher({ cost: cheap, log })).for({ address: '192.0.2.1' })
    expect(await hasher.verify('password', await hasher.hash('password'))).toBe(true)
    expect(log.info).toHaveBeenCalledTimes(1)
    expect(log.info).toHaveBeenCalledWith(expect.stringContaining('native'), expect.anything())
    expect(log.warn).not.toHaveBeenCalled()
  })

  test('is bcryptjs where the binary does not load, and warns in one line', async () => {
    expect(await runWithoutBinary()).toEqual({
      verified: true,
      refused: false,
      lines: [expect.stringMatching(/^warn: native bcrypt does not load.*bcryptjs/)],
    })
  })

  test('queues as many jobs as it can hash in 10 s', () => {
    const limitFor = (cost: number, concurrency: number) => queueLimits(cost, concurrency).queueLimit
    expect([limitFor(10, 1), limitFor(10, 3), limitFor(12, 1), limitFor(15, 2)]).toEqual([100, 300, 25, 6])
  })
})

/** Runs in a process of its own: a binary is loaded once. */
async function runWithoutBinary() {
  const contents = `
    import { createNodeHasher } from './src/runtime/passwords/password-hasher.ts'
    const lines = []
    const log = { info: (text) => lines.push('info: ' + text), warn: (text) => lines.push('warn: ' + text) }
    const hasher = (await createNodeHasher({ cost: 4, log })).for({ address: '192.0.2.1' })
    const hash = await hasher.hash('password')
    const verified = await hasher.verify('password', hash)
    const refused = await hasher.verify('guess', hash)
    console.log(JSON.stringify({ verified, refused, lines }))`
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root },
    write: false,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
  })
  const stdout = execFileSync(process.execPath, ['--input-type=module', '-'], {
    cwd: root,
    input: outputFiles[0]?.contents,
    env: { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: '/no/such.node' },
    timeout: 60_000,
  })
  return JSON.parse(String(stdout))
}

/** Processor time in microseconds, which other programs do not lengthen. */
async function timeTaken(work: () => Promise<unknown>): Promise<number> {
  const begun = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(begun)
  return user + system
}
