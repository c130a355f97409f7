/**
 * Standard output and standard error of every process on Node. A process goes on when nobody can read what it
 * prints: the reader has gone, the disk is full, the terminal was closed, or the reader takes nothing for a
 * while.
 */
import { Console } from 'node:console'
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { escapeInvisible } from '../../core/plain-text.ts'

/** So much is kept for a reader that is slow. Lines that come beyond it are lost. */
const keptBytes = 1024 * 1024
const retryMs = { slow: 50, failed: 1000 }
/** A process that exits waits so long for a slow reader. */
const exitMs = 500

type Descriptor = 1 | 2
/** `lines` are untold when it cannot be written: of a notice all those that it tells of. */
type Entry = { bytes: Buffer; lines: number; isNotice: boolean; hasBegun: boolean }

let lost = 0
/** How many lines this process could not log so far, for its metrics. */
export const linesLost = () => lost

/**
 * From now on `console` prints log lines: it neither blocks nor fails, and counts the lines that it drops.
 */
export function logOnOutput(): void {
  replaceConsole((descriptor) => createLog(descriptor).write)
}

/**
 * Runs a command to its end, with a `console` that waits for a slow reader. The exit code is 1 when `work`
 * fails, which is told as `describe` has it, and when a part of the answer could not be written.
 */
export function runAnswering(work: () => Promise<unknown>, describe: (error: unknown) => unknown): void {
  let unwritten: string | undefined
  replaceConsole((descriptor) => (text) => {
    try {
      if (descriptor === 2 || unwritten === undefined) writeWhole(descriptor, text)
    } catch (error) {
      // Without standard error nobody can be told.
      if (descriptor === 1) unwritten = codeOf(error)
    }
  })
  work()
    .catch((error: unknown) => {
      console.error(describe(error))
      process.exitCode = 1
    })
    .finally(() => {
      if (unwritten === undefined) return
      process.exitCode = 1
      // A reader that has seen enough (| head) knows it.
      if (unwritten !== 'EPIPE') console.error(`the answer could not be written (${unwritten})`)
    })
}

function replaceConsole(writer: (descriptor: Descriptor) => (text: string) => void) {
  // A direct write to them, as by worker threads, must not end the process.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  const stream = (descriptor: Descriptor) => {
    const write = writer(descriptor)
    return new Writable({
      decodeStrings: false,
      write(chunk, _encoding, done) {
        write(escapeInvisible(String(chunk)))
        done()
      },
    })
  }
  globalThis.console = new Console({ stdout: stream(1), stderr: stream(2), ignoreErrors: false })
}

function createLog(descriptor: Descriptor) {
  const target = openWithoutBlocking(descriptor)
  const waiting: Entry[] = []
  let waitingBytes = 0
  let untold = 0
  let reason = ''
  /** True while the last write ended within a line. */
  let broken = false
  let timer: NodeJS.Timeout | undefined

  function write(text: string) {
    if (waitingBytes >= keptBytes) {
      lose(1, 'slow reader')
      return
    }
    if (untold > 0) addNotice()
    add(text, { lines: 1, isNotice: false })
    drain()
  }

  function add(text: string, entry: Pick<Entry, 'lines' | 'isNotice'>) {
    const bytes = Buffer.from(text)
    waiting.push({ bytes, hasBegun: false, ...entry })
    waitingBytes += bytes.length
  }

  function addNotice() {
    add(`${broken ? '\n' : ''}${noticeOf(untold, reason)}\n`, { lines: untold, isNotice: true })
    untold = 0
  }

  function lose(lines: number, why: string) {
    untold += lines
    reason = why
    lost += lines
  }

  /** Writes what waits. Answers false when the reader is not ready for all of it. */
  function drain(): boolean {
    clearTimeout(timer)
    try {
      while (waiting.length > 0 || untold > 0) {
        if (waiting.length === 0) addNotice()
        writeFirst()
      }
      return true
    } catch (error) {
      const isSlow = codeOf(error) === 'EAGAIN'
      if (!isSlow) loseWaiting(codeOf(error))
      // A quiet process, too, tells of its losses as soon as it can.
      timer = setTimeout(drain, isSlow ? retryMs.slow : retryMs.failed).unref()
      return !isSlow
    }
  }

  function writeFirst() {
    const [first] = waiting
    if (!first) return
    const written = writeSync(target, first.bytes)
    waitingBytes -= written
    first.hasBegun = written < first.bytes.length
    if (first.hasBegun) {
      first.bytes = first.bytes.subarray(written)
    } else {
      waiting.shift()
      broken = false
    }
  }

  function loseWaiting(why: string) {
    broken ||= waiting[0]?.hasBegun ?? false
    for (const { lines } of waiting) untold += lines
    // Those of a notice have been counted before.
    lost += waiting.filter(({ isNotice }) => !isNotice).length
    reason = why
    waiting.length = 0
    waitingBytes = 0
  }

  process.on('exit', () => {
    const deadline = Date.now() + exitMs
    while (!drain() && Date.now() < deadline) pause(10)
  })
  return { write }
}

const noticeOf = (lines: number, reason: string) =>
  JSON.stringify({
    time: new Date().toISOString(),
    level: 'error',
    message: 'log lines were lost',
    lines,
    reason,
    pid: process.pid,
  })

/**
 * A pipe or a terminal is opened anew, so that no other process that shares it is affected. Where that is
 * impossible, as for a socket, Node's own stream has set the shared one to non-blocking. A file is written
 * synchronously.
 */
function openWithoutBlocking(descriptor: Descriptor): number {
  try {
    if (!fstatSync(descriptor).isFIFO() && !isatty(descriptor)) return descriptor
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    return openSync(`/proc/self/fd/${descriptor}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
  } catch {
    return descriptor
  }
}

/** @throws Error when the rest of it cannot be written */
function writeWhole(descriptor: Descriptor, text: string) {
  let bytes = Buffer.from(text)
  while (bytes.length > 0) {
    try {
      bytes = bytes.subarray(writeSync(descriptor, bytes))
    } catch (error) {
      if (codeOf(error) !== 'EAGAIN') throw error
      pause(10)
    }
  }
}

const cell = new Int32Array(new SharedArrayBuffer(4))
const pause = (ms: number) => Atomics.wait(cell, 0, 0, ms)

const codeOf = (error: unknown) =>
  error instanceof Error && 'code' in error ? String(error.code) : String(error)
