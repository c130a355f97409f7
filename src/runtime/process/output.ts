/**
 * Standard output and standard error on Node. A process goes on when its output cannot be written: the reader
 * has gone, the disk is full, the terminal was closed, or the reader is slow.
 */
import { Console } from 'node:console'
import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { isatty } from 'node:tty'
import { codeOf } from '../../core/failure.ts'
import { escapeInvisible } from '../../core/plain-text.ts'

/** Buffered for a slow reader. Further lines are dropped. */
const bufferBytes = 1024 * 1024
/** The lines of a turn of the event loop are written together, up to about this many bytes at a time. */
const batchBytes = 64 * 1024
const retryMs = { slow: 50, failed: 1000 }
/** An exiting process waits this long for a slow reader. */
const exitMs = 500

const lineBreak = 0x0a

type Descriptor = 1 | 2
/** Lines, or a notice that reports `lost` ones. */
type Batch = { bytes: Buffer; lost: number }

let lost = 0
export const linesLost = () => lost

/**
 * Makes `console` print log lines: it neither blocks nor fails, and counts the lines that it drops. Returns a
 * shorter way to standard output, for a line without its line break and without invisible characters.
 */
export function logOnOutput(): (line: string) => void {
  const logs = { 1: createLog(1), 2: createLog(2) }
  replaceConsole((descriptor) => (text) => logs[descriptor](escapeInvisible(text)))
  return (line) => logs[1](`${line}\n`)
}

/**
 * Runs a command to its end, with a `console` that waits for a slow reader. The exit code is 1 when `work`
 * rejects, which is printed as `describe` returns it, or when output could not be written.
 */
export function runAnswering(work: () => Promise<unknown>, describe: (error: unknown) => unknown): void {
  let unwritten: string | undefined
  replaceConsole((descriptor) => (text) => {
    try {
      if (descriptor === 2 || unwritten === undefined) writeWhole(descriptor, escapeInvisible(text))
    } catch (error) {
      // Without standard error there is nowhere to report it.
      if (descriptor === 1) unwritten = codeOf(error) ?? String(error)
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
      // A reader that has seen enough (| head) closed the pipe itself.
      if (unwritten !== 'EPIPE') console.error(`the answer could not be written (${unwritten})`)
    })
}

function replaceConsole(writer: (descriptor: Descriptor) => (text: string) => void) {
  // An error of a direct write to them must not end the process.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
  const stream = (descriptor: Descriptor) => {
    const write = writer(descriptor)
    return new Writable({
      decodeStrings: false,
      write(chunk, _encoding, done) {
        write(String(chunk))
        done()
      },
    })
  }
  globalThis.console = new Console({ stdout: stream(1), stderr: stream(2), ignoreErrors: false })
}

/** Returns the function that prints text: one line, or several. */
function createLog(descriptor: Descriptor) {
  const target = openWithoutBlocking(descriptor)
  /** Printed since the last batch. */
  let latest = ''
  /** The first of them may be partly written: then its bytes are the rest. */
  const waiting: Batch[] = []
  let waitingBytes = 0
  let unreported = 0
  let reason = ''
  /** True while the last write ended within a line. */
  let isWithinLine = false
  let isExiting = false
  let timer: NodeJS.Timeout | undefined

  function print(text: string) {
    if (waitingBytes + latest.length >= bufferBytes) {
      lose(1, 'slow reader')
      return
    }
    if (unreported > 0) addNotice()
    if (latest === '') setImmediate(drain)
    latest += text
    if (isExiting || latest.length >= batchBytes) drain()
  }

  function add(text: string, lost: number) {
    const bytes = Buffer.from(text)
    waiting.push({ bytes, lost })
    waitingBytes += bytes.length
  }

  function addLatest() {
    if (latest !== '') add(latest, 0)
    latest = ''
  }

  function addNotice() {
    addLatest()
    add(`${isWithinLine ? '\n' : ''}${noticeOf(unreported, reason)}\n`, unreported)
    unreported = 0
  }

  function lose(lines: number, why: string) {
    unreported += lines
    reason = why
    lost += lines
  }

  /** Writes the buffer. Returns false when the reader is not ready for all of it. */
  function drain(): boolean {
    clearTimeout(timer)
    addLatest()
    try {
      while (waiting.length > 0 || unreported > 0) {
        if (waiting.length === 0) addNotice()
        writeFirst()
      }
      return true
    } catch (error) {
      const isSlow = codeOf(error) === 'EAGAIN'
      if (!isSlow) loseWaiting(codeOf(error) ?? String(error))
      // A quiet process reports its losses as soon as it can, too.
      timer = setTimeout(drain, isSlow ? retryMs.slow : retryMs.failed).unref()
      return !isSlow
    }
  }

  function writeFirst() {
    const [first] = waiting
    if (!first) return
    const written = writeSync(target, first.bytes)
    waitingBytes -= written
    isWithinLine = first.bytes[written - 1] !== lineBreak
    first.bytes = first.bytes.subarray(written)
    if (first.bytes.length === 0) waiting.shift()
  }

  function loseWaiting(why: string) {
    for (const batch of waiting) {
      if (batch.lost > 0) unreported += batch.lost
      else lose(batch.bytes.filter((byte) => byte === lineBreak).length, why)
    }
    reason = why
    waiting.length = 0
    waitingBytes = 0
  }

  process.on('exit', () => {
    isExiting = true
    const deadline = Date.now() + exitMs
    while (!drain() && Date.now() < deadline) pause(10)
  })
  return print
}

function noticeOf(lines: number, reason: string) {
  const head = { time: new Date().toISOString(), level: 'error', message: 'log lines were lost' }
  return JSON.stringify({ ...head, lines, reason, pid: process.pid })
}

/**
 * Opens a pipe or a terminal again, so that other processes that share it are not affected. Where that is
 * impossible, as for a socket, Node's stream has set the shared one to non-blocking.
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

const zero = new Int32Array(new SharedArrayBuffer(4))
const pause = (ms: number) => Atomics.wait(zero, 0, 0, ms)
