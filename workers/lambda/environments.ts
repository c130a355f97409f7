/**
 * Execution environments, as AWS Lambda calls them: each takes one event at a time, is kept warm for the next one, and how
 * many there may be is the function's concurrency. Here they are places in one process: each has a log stream of its own,
 * but all share the process's one module scope, where on AWS each would have its own.
 */

export type Environment = {
  /** Such as `2026/11/22/[$LATEST]` and 32 hexadecimal digits. */
  logStreamName: string
}

export type Environments = {
  /** Undefined when as many as there may be are busy. */
  acquire(): Environment | undefined
  /** A broken one, whose function may still be running, is not used again. */
  release(environment: Environment, options?: { broken?: boolean }): void
  /** How many more events could be taken now. */
  free(): number
}

type Options = {
  concurrency: number
  /** No event is in an environment for longer; its function's time-out with something to spare. */
  longestMs: number
  /** Milliseconds since the epoch. */
  now: () => number
}

export function createEnvironments({ concurrency, longestMs, now }: Options): Environments {
  const warm: Environment[] = []
  const busyUntil = new Map<Environment, number>()

  /** On workerd an invocation ends without a word when its caller hangs up: its environment must not be lost for good. */
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
