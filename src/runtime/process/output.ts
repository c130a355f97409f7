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
const retryMs = { slow: 50, failed: 1000 }
/** An exiting process waits this long for a slow reader. */
const exitMs = 500

type Descriptor = 1 | 2
/** `lines` counts the lines that are lost when the entry cannot be written; a notice reports several. */
type Entry = { bytes: Buffer; lines: number; isNotice: boolean; hasBegun: boolean }

let lost = 0
export const linesLost = () => lost

/** Makes `console` print log lines: it neither blocks nor fails, and counts the lines that it drops. */
export function logOnOutput(): void {
  replaceConsole((descriptor) => createLog(descriptor).write)
}

/**
 * Runs a command to its end, with a `console` that waits for a slow reader. The exit code is 1 when `work`
 * rejects, which is printed as `describe` returns it, or when output could not be written.
 */
export function runAnswering(work: () => Promise<unknown>, describe: (error: unknown) => unknown): void {
  let unwritten: string | undefined
  replaceConsole((descriptor) => (text) => {
    try {
      if (descriptor === 2 || unwritten === undefined) writeWhole(descriptor, text)
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
  let unreported = 0
  let reason = ''
  /** True while the last write ended within a line. */
  let isWithinLine = false
  let timer: NodeJS.Timeout | undefined

  function write(text: string) {
    if (waitingBytes >= bufferBytes) {
      lose(1, 'slow reader')
      return
    }
    if (unreported > 0) addNotice()
    add(text, { lines: 1, isNotice: false })
    drain()
  }

  function add(text: string, entry: Pick<Entry, 'lines' | 'isNotice'>) {
    const bytes = Buffer.from(text)
    waiting.push({ bytes, hasBegun: false, ...entry })
    waitingBytes += bytes.length
  }

  function addNotice() {
    add(`${isWithinLine ? '\n' : ''}${noticeOf(unreported, reason)}\n`, { lines: unreported, isNotice: true })
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
    first.hasBegun = written < first.bytes.length
    if (first.hasBegun) {
      first.bytes = first.bytes.subarray(written)
    } else {
      waiting.shift()
      isWithinLine = false
    }
  }

  function loseWaiting(why: string) {
    isWithinLine ||= waiting[0]?.hasBegun ?? false
    for (const { lines } of waiting) unreported += lines
    // The lines of a notice were counted when they were lost.
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
