/** bcryptjs on threads of its own, for platforms without the native binary. */
import { Worker } from 'node:worker_threads'
import type { Bcrypt } from '../../ports/passwords.ts'

export type Job =
  | { verb: 'hash'; password: string; cost: number }
  | { verb: 'compare'; password: string; hash: string }
export type Answer = { ok: true; value: string | boolean } | { ok: false; reason: string }

type Thread = { pending: number; run(job: Job): Promise<string | boolean> }

/**
 * `workerEntry` is the bundled `bcrypt-worker.ts`. Threads start with their first job. When one dies, its jobs reject and
 * the next job starts another in its place. Idle threads do not keep the process alive, busy ones do.
 */
export function bcryptjsPool({ workerEntry, size }: { workerEntry: string | URL; size: number }): Bcrypt {
  const threads = new Set<Thread>()

  function leastBusy(): Thread {
    const [first] = [...threads].sort((a, b) => a.pending - b.pending)
    if (first && (first.pending === 0 || threads.size >= size)) return first
    const thread = startThread(workerEntry, () => threads.delete(thread))
    threads.add(thread)
    return thread
  }

  return {
    hash: async (password, cost) => String(await leastBusy().run({ verb: 'hash', password, cost })),
    compare: async (password, hash) => (await leastBusy().run({ verb: 'compare', password, hash })) === true,
  }
}

function startThread(workerEntry: string | URL, onGone: () => void): Thread {
  const worker = new Worker(workerEntry)
  const jobs = new Map<
    number,
    { resolve: (value: string | boolean) => void; reject: (error: Error) => void }
  >()
  let lastId = 0
  let cause: unknown

  worker.on('message', ({ id, ...answer }: Answer & { id: number }) => {
    const job = jobs.get(id)
    jobs.delete(id)
    if (jobs.size === 0) worker.unref()
    if (answer.ok) job?.resolve(answer.value)
    else job?.reject(new Error(answer.reason))
  })
  // What was thrown in the thread, such as a missing file; `exit` always follows.
  worker.on('error', (error) => {
    cause = error
  })
  worker.on('exit', () => {
    onGone()
    for (const { reject } of jobs.values())
      reject(new Error('the thread that hashed a password died', { cause }))
  })

  return {
    get pending() {
      return jobs.size
    },
    run: (job) =>
      new Promise((resolve, reject) => {
        const id = ++lastId
        jobs.set(id, { resolve, reject })
        worker.ref()
        worker.postMessage({ id, ...job })
      }),
  }
}
