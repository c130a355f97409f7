/** Execution environments, each for one event at a time. They share a module scope, unlike on AWS. */

/** `logStreamName` is such as `2026/11/22/[$LATEST]` and 32 hexadecimal digits. */
type Environment = { logStreamName: string }

type Options = {
  concurrency: number
  /** The longest time that an event holds an environment: the function's time-out and a reserve. */
  longestMs: number
  /** Milliseconds since the epoch. */
  now: () => number
}

export function createEnvironments({ concurrency, longestMs, now }: Options) {
  const warm: Environment[] = []
  const busyUntil = new Map<Environment, number>()

  /**
   * When its caller disconnects, workerd drops an invocation silently, so nobody releases its environment.
   */
  function dropOverdue() {
    for (const [environment, until] of busyUntil) if (until < now()) busyUntil.delete(environment)
  }

  return {
    /** Returns undefined when all are busy. */
    acquire(): Environment | undefined {
      if (busyUntil.size >= concurrency) dropOverdue()
      if (busyUntil.size >= concurrency) return undefined
      const environment = warm.pop() ?? { logStreamName: nameLogStream(now()) }
      busyUntil.set(environment, now() + longestMs)
      return environment
    },
    /** A broken environment, whose function may still be running, is not used again. */
    release(environment: Environment, { broken = false } = {}) {
      if (busyUntil.delete(environment) && !broken) warm.push(environment)
    },
    /** Returns how many more events can be handled now. */
    free() {
      dropOverdue()
      return concurrency - busyUntil.size
    },
  }
}

const nameLogStream = (now: number) =>
  `${new Date(now).toISOString().slice(0, 10).replaceAll('-', '/')}/[$LATEST]${crypto.randomUUID().replaceAll('-', '')}`
