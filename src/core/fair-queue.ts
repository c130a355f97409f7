/**
 * A bounded queue that serves whoever asks in turn, so that nobody keeps it from the others. All state is in
 * the jobs that wait: nothing is remembered of an address or a user once its last job has gone.
 */

/**
 * Whom a job is done for. A user only where one is logged in; registrations and logins are the address's
 * alone.
 */
export type Asker = { address: string; user?: number }

export type QueueLimits = {
  /** Jobs that run at a time. */
  concurrency: number
  /** Jobs that wait at most. */
  queueLimit: number
  /**
   * A job that has waited for so long is refused: in turn, the last of many could wait much longer than all
   * before it.
   */
  waitMs: number
}

export type FairQueue = {
  /**
   * Rejects with the error of `refusal` when there is no room or no time for the work, which is then never
   * begun.
   */
  run<T>(asker: Asker, work: () => Promise<T>): Promise<T>
  load(): { running: number; waiting: number }
}

type Job = {
  asker: Asker
  /**
   * When the address, and the user at that address, last had their turn: the one that waits longest is next.
   */
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
 * The next job is the oldest of the user, of the address, whose last turn is longest ago. While others wait,
 * no address and no user holds more than half of the queue; a full queue drops the newest job of the user
 * with most jobs, at the address with most.
 */
export function fairQueue({ concurrency, queueLimit, waitMs }: QueueLimits, refusal: () => Error): FairQueue {
  const half = Math.max(1, Math.floor(queueLimit / 2))
  /** In order of arrival. An array: it is short, and a job takes some 100 ms. */
  const waiting: Job[] = []
  const running: Slot[] = []
  let turns = 0

  function takeSlot(): Slot {
    const slot = { since: Date.now() }
    running.push(slot)
    return slot
  }

  /** Hands the slot on in the same turn of the event loop, so that nobody who comes meanwhile overtakes. */
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

  /** A platform may end a request together with the job that it runs, which then never ends. */
  function releaseLost() {
    for (const slot of running.filter(({ since }) => Date.now() - since > lostAfterMs)) release(slot)
  }

  /**
   * The job without which the queue would keep its rules; undefined when it does. The newest of all may be
   * it.
   */
  function excess(): Job | undefined {
    if (waiting.length <= half) return undefined
    const isTooMuch = ({ length }: Job[]) => length > half && length < waiting.length
    const loggedIn = waiting.filter(({ asker }) => asker.user !== undefined)
    const ofUser = largestGroup(loggedIn, ({ asker }) => asker.user)
    if (isTooMuch(ofUser)) return ofUser.at(-1)
    const ofAddress = largestGroup(waiting, ({ asker }) => asker.address)
    if (!isTooMuch(ofAddress) && waiting.length <= queueLimit) return undefined
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
      for (let dropped = excess(); dropped; dropped = excess()) dropped.refuse()
    })
  }

  return {
    async run(asker, work) {
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

/** False where it is not, or no longer, in the list. */
function remove<T>(list: T[], item: T): boolean {
  const index = list.indexOf(item)
  if (index < 0) return false
  list.splice(index, 1)
  return true
}

/** Jobs of one user at one address have the same turns. */
const isBefore = (one: Job, other: Job) =>
  one.addressTurn < other.addressTurn ||
  (one.addressTurn === other.addressTurn && one.userTurn < other.userTurn)

/** Among groups of equal size the one with the newest job; empty for no jobs. */
function largestGroup(jobs: Job[], keyOf: (job: Job) => unknown): Job[] {
  const sizes = new Map<unknown, number>()
  for (const job of jobs) sizes.set(keyOf(job), (sizes.get(keyOf(job)) ?? 0) + 1)
  const most = Math.max(...sizes.values())
  const newest = jobs.findLast((job) => sizes.get(keyOf(job)) === most)
  return newest ? jobs.filter((job) => keyOf(job) === keyOf(newest)) : []
}
