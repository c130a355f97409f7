/**
 * Execution environments: each handles one event at a time and is reused. Their number is the function's
 * concurrency. All share the process's module scope; on AWS each would have its own.
 */

export type Environment = {
  /** Such as `2026/11/22/[$LATEST]` and 32 hexadecimal digits. */
  logStreamName: string
}

export type Environments = {
  /** Returns undefined when all are busy. */
  acquire(): Environment | undefined
  /** A broken environment, whose function may still be running, is not used again. */
  release(environment: Environment, options?: { broken?: boolean }): void
  /** Returns how many more events can be handled now. */
  free(): number
}

type Options = {
  concurrency: number
  /** The longest time that an event holds an environment: the function's time-out and a reserve. */
  longestMs: number
  /** Milliseconds since the epoch. */
  now: () => number
}

export function createEnvironments({ concurrency, longestMs, now }: Options): Environments {
  const warm: Environment[] = []
  const busyUntil = new Map<Environment, number>()

  /** When its caller disconnects, workerd drops an invocation silently, so nobody releases its environment. */
  function dropOverdue() {
    for (const [environment, until] of busyUntil) if (until < now()) busyUntil.delete(environment)
  }

  return {
    acquire() {
      if (busyUntil.size >= concurrency) dropOverdue()
      if (busyUntil.size >= concurrency) return undefined
      const environment = warm.pop() ?? { logStreamName: nameLogStream(now()) }
      busyUntil.set(environment, now() + longestMs)
      return environment
    },
    release(environment, { broken = false } = {}) {
      if (busyUntil.delete(environment) && !broken) warm.push(environment)
    },
    free() {
      dropOverdue()
      return concurrency - busyUntil.size
    },
  }
}

const nameLogStream = (now: number) =>
  `${new Date(now).toISOString().slice(0, 10).replaceAll('-', '/')}/[$LATEST]${crypto.randomUUID().replaceAll('-', '')}`
