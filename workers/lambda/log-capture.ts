/** Captures the console output of each invocation, for its log tail. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { format } from 'node:util'

/** AWS's size of a log tail, in bytes. */
const tailBytes = 4096

export type LogCapture = {
  /** Adds a line that only the tail has. */
  add(line: string): void
  /** Returns the last 4 KB as UTF-8, from the start of a character. */
  tail(): Uint8Array<ArrayBuffer>
}

const current = new AsyncLocalStorage<LogCapture>()

/** Runs `work`. Its console output also goes to `capture`, including what it prints after it has returned. */
export const captureLogs = <T>(capture: LogCapture, work: () => T): T => current.run(capture, work)

let isInstalled = false

/**
 * Makes `console` capture output for the invocation that prints it; concurrent invocations do not mix. Call
 * it before anything keeps a reference to `console.log`. A second call changes nothing.
 */
export function installLogCapture() {
  if (isInstalled) return
  isInstalled = true
  for (const method of ['debug', 'error', 'info', 'log', 'trace', 'warn'] as const) {
    const print = console[method].bind(console)
    console[method] = (...values: unknown[]) => {
      current.getStore()?.add(format(...values))
      print(...values)
    }
  }
}

export function createLogCapture(): LogCapture {
  // The tail has at most this many characters, as each takes a byte or more.
  let text = ''
  return {
    add(line) {
      text = `${text}${line.slice(-tailBytes)}\n`.slice(-tailBytes)
    },
    tail() {
      const tail = new TextEncoder().encode(text).slice(-tailBytes)
      const start = tail.findIndex((byte) => (byte & 0xc0) !== 0x80)
      return tail.slice(Math.max(0, start))
    },
  }
}
