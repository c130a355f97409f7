/** A bounded queue that serves its askers in turn. All state is in the waiting jobs, and ends with them. */

/** `user` is set for logged-in users only: registrations and log-ins count by address alone. */
export type Asker = { address: string; user?: number }

export type QueueLimits = {
  concurrency: number
  /** Waiting jobs. */
  queueLimit: number
  /** A job that has waited this long is refused. The last job of many could otherwise wait much longer. */
  waitMs: number
}

export type FairQueue = ReturnType<typeof fairQueue>

type Job = {
  asker: Asker
  /** Numbers of the last service, or else of the arrival; the lowest is served next. */
  addressTurn: number
  userTurn: number
  start: (slot: Slot) => void
  refuse: () => void
}

/** The slot of a running job; `since` in ms since the epoch. */
type Slot = { since: number }

/** The slowest hash, at cost 15, takes some 5 s. */
const lostAfterMs = 60_000

/**
 * Serves the address whose last turn is longest ago, there the user whose last turn is longest ago, and of
 * that user the oldest job. While others wait, no address and no user holds more than half of the queue. A
 * full queue drops the newest job of the user with most jobs, at the address with most jobs.
 */
export function fairQueue({ concurrency, queueLimit, waitMs }: QueueLimits, refusal: () => Error) {
  const half = Math.max(1, Math.floor(queueLimit / 2))
  /** In order of arrival. It is short, and a job takes some 100 ms: an array will do. */
  const waiting: Job[] = []
  const running: Slot[] = []
  let turns = 0

  function takeSlot(): Slot {
    const slot = { since: Date.now() }
    running.push(slot)
    return slot
  }

  /** Hands the slot over in the same turn of the event loop, so that no newcomer overtakes. */
  function release(slot: Slot) {
    if (!remove(running, slot)) return
    const next = waiting.reduce<Job | undefined>(
      (first, job) => (first === undefined || isBefore(job, first) ? job : first),
      undefined,
    )
    if (!next) return
    remove(waiting, next)
    const turn = ++turns
    for (const job of waiting.filter((each) => each.asker.address === next.asker.address)) {
      job.addressTurn = turn
      if (job.asker.user === next.asker.user) job.userTurn = turn
    }
    next.start(takeSlot())
  }

  /** A platform may cancel a request together with its running job, which then never ends. */
  function releaseLost() {
    for (const slot of running.filter(({ since }) => Date.now() - since > lostAfterMs)) release(slot)
  }

  /** Returns the job to drop, possibly the newest; undefined when the queue keeps its rules. */
  function findExcess(): Job | undefined {
    if (waiting.length <= half) return undefined
    const isTooMany = ({ length }: Job[]) => length > half && length < waiting.length
    const loggedIn = waiting.filter(({ asker }) => asker.user !== undefined)
    const ofUser = largestGroup(loggedIn, ({ asker }) => asker.user)
    if (isTooMany(ofUser)) return ofUser.at(-1)
    const ofAddress = largestGroup(waiting, ({ asker }) => asker.address)
    if (!isTooMany(ofAddress) && waiting.length <= queueLimit) return undefined
    return largestGroup(ofAddress, ({ asker }) => asker.user).at(-1)
  }

  function wait(asker: Asker): Promise<Slot> {
    return new Promise((resolve, reject) => {
      const turn = ++turns
      const sameAddress = waiting.filter((job) => job.asker.address === asker.address)
      const sameUser = sameAddress.find((job) => job.asker.user === asker.user)
      const refuse = () => {
        clearTimeout(timer)
        remove(waiting, job)
        reject(refusal())
      }
      const timer = setTimeout(refuse, waitMs)
      const job: Job = {
        asker,
        addressTurn: sameAddress[0]?.addressTurn ?? turn,
        userTurn: sameUser?.userTurn ?? turn,
        start(slot) {
          clearTimeout(timer)
          resolve(slot)
        },
        refuse,
      }
      waiting.push(job)
      for (let dropped = findExcess(); dropped; dropped = findExcess()) dropped.refuse()
    })
  }

  return {
    /** Rejects with the error of `refusal`, before the work has started, without room or time for it. */
    async run<T>(asker: Asker, work: () => Promise<T>): Promise<T> {
      releaseLost()
      const slot = running.length < concurrency ? takeSlot() : await wait(asker)
      try {
        return await work()
      } finally {
        release(slot)
      }
    },
    load: () => ({ running: running.length, waiting: waiting.length }),
  }
}

/** Returns false when the item is not in the list. */
function remove<T>(list: T[], item: T): boolean {
  const index = list.indexOf(item)
  if (index < 0) return false
  list.splice(index, 1)
  return true
}

const isBefore = (one: Job, other: Job) =>
  one.addressTurn < other.addressTurn ||
  (one.addressTurn === other.addressTurn && one.userTurn < other.userTurn)

/** Returns the largest group, of equal ones that with the newest job. Empty without jobs. */
function largestGroup(jobs: Job[], keyOf: (job: Job) => unknown): Job[] {
  const sizes = new Map<unknown, number>()
  for (const job of jobs) sizes.set(keyOf(job), (sizes.get(keyOf(job)) ?? 0) + 1)
  const most = Math.max(...sizes.values())
  const newest = jobs.findLast((job) => sizes.get(keyOf(job)) === most)
  return newest ? jobs.filter((job) => keyOf(job) === keyOf(newest)) : []
}
