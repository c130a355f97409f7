/** The thread of `bcryptjs-pool.ts`: answers one message for each it gets. */
import { parentPort } from 'node:worker_threads'
import { bcryptjs } from './bcryptjs.ts'
import type { Answer, Job } from './bcryptjs-pool.ts'

parentPort?.on('message', async ({ id, ...job }: Job & { id: number }) => {
  parentPort?.postMessage({ id, ...(await answer(job)) })
})

async function answer(job: Job): Promise<Answer> {
  try {
    if (job.verb === 'hash') return { ok: true, value: await bcryptjs.hash(job.password, job.cost) }
    return { ok: true, value: await bcryptjs.compare(job.password, job.hash) }
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message : String(error) }
  }
}
