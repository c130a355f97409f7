/** What an invocation prints, kept beside printing it: the source of its log tail. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { format } from 'node:util'

/** AWS's size of a log tail, in bytes. */
const tailBytes = 4096

export type Printed = {
  /** Adds a line that only the tail has. */
  add(line: string): void
  /** Its last 4 KB as UTF-8, from the beginning of a character. */
  tail(): Uint8Array<ArrayBuffer>
}

const current = new AsyncLocalStorage<Printed>()

/** Runs `work`; what it prints by `console`, and whatever it has started prints later, goes to `printed` as well. */
export const printingTo = <T>(printed: Printed, work: () => T): T => current.run(printed, work)

let recording = false

/**
 * From now on every `console.log` and its like is recorded for the invocation that called it; invocations that run at the
 * same time do not mix. Call it before anything keeps a reference to `console.log`. A second call changes nothing.
 */
export function recordConsole() {
  if (recording) return
  recording = true
  for (const method of ['debug', 'error', 'info', 'log', 'trace', 'warn'] as const) {
    const print = console[method].bind(console)
    console[method] = (...values: unknown[]) => {
      current.getStore()?.add(format(...values))
      print(...values)
    }
  }
}

export function createPrinted(): Printed {
  const encoder = new TextEncoder()
  let lines: Uint8Array[] = []
  let bytes = 0

  function join() {
    const whole = new Uint8Array(bytes)
    let offset = 0
    for (const line of lines) {
      whole.set(line, offset)
      offset += line.length
    }
    return whole
  }

  return {
    add(text) {
      // More characters than this can't all be in the tail, and a line may be as long as a payload.
      const line = encoder.encode(`${text.slice(-tailBytes)}\n`)
      lines.push(line)
      bytes += line.length
      if (bytes < 8 * tailBytes) return
      const kept = join().subarray(-tailBytes)
      lines = [kept]
      bytes = kept.length
    },
    tail() {
      const tail = join().subarray(-tailBytes)
      const start = tail.findIndex((byte) => (byte & 0xc0) !== 0x80)
      return tail.slice(Math.max(0, start))
    },
  }
}
