/** How full the outbox is, for whoever asks how often. */

import { errorFields, type Logger } from '../core/log.ts'
import type { Database } from '../ports/database.ts'
import { measureOutbox } from './outbox.ts'

export type OutboxMeasure = Awaited<ReturnType<typeof measureOutbox>>

/** A database that is full or away is asked no more often, and keeps nobody waiting. */
const rememberedMs = 5_000
const answerMs = 1_500

/** Answers what was measured at most 5 s ago, or undefined when there is no answer within 1.5 s. Never rejects. */
export function outboxWatch(db: Database, log: Logger): () => Promise<OutboxMeasure | undefined> {
  let last: { at: number; measure: Promise<OutboxMeasure | undefined> } | undefined
  return () => {
    if (!last || performance.now() - last.at > rememberedMs) {
      const measure = measureOutbox(db, { timeoutMs: answerMs }).catch((error) => {
        log.warn('the outbox was not measured', errorFields(error))
        return undefined
      })
      last = { at: performance.now(), measure }
    }
    return inTime(last.measure)
  }
}

function inTime<T>(answer: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(undefined), answerMs)
    answer.then(resolve).finally(() => clearTimeout(timer))
  })
}
