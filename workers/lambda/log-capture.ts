/** Captures the console output of each invocation, for its log tail. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { format } from 'node:util'

/** AWS's size of a log tail, in bytes. */
const tailBytes = 4096

export type LogCapture = ReturnType<typeof createLogCapture>

const current = new AsyncLocalStorage<LogCapture>()

/** Runs `work`. Its console output also goes to `capture`, including what it prints after it has returned. */
export const captureLogs = <T>(capture: LogCapture, work: () => T): T => current.run(capture, work)

let isInstalled = false

/** Makes `console` capture the output of each invocation. Call it before anything keeps `console.log`. */
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

export function createLogCapture() {
  // The tail has at most this many characters, as each takes a byte or more.
  let text = ''
  return {
    /** Adds a line that only the tail has. */
    add(line: string) {
      text = `${text}${line.slice(-tailBytes)}\n`.slice(-tailBytes)
    },
    /** Returns the last 4 KB as UTF-8, from the start of a character. */
    tail() {
      const tail = new TextEncoder().encode(text).slice(-tailBytes)
      const start = tail.findIndex((byte) => (byte & 0xc0) !== 0x80)
      return tail.slice(Math.max(0, start))
    },
  }
}
