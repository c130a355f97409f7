/** Measurements of the outbox for metrics and /readyz. */

import { errorFields, type Logger } from '../core/log.ts'
import { settleWithin } from '../core/timeout.ts'
import type { Database } from '../ports/database.ts'
import { measureOutbox } from './outbox.ts'

export type OutboxMeasure = Awaited<ReturnType<typeof measureOutbox>>

/** The database is measured at most once in this time, even when it is down. */
const maximumAgeMs = 5_000
const timeoutMs = 1_500

/** Returns a measurement at most 5 s old, or undefined without an answer within 1.5 s. Never rejects. */
export function outboxWatch(db: Database, log: Logger): () => Promise<OutboxMeasure | undefined> {
  let last: { at: number; measure: Promise<OutboxMeasure | undefined> } | undefined
  return () => {
    if (!last || performance.now() - last.at > maximumAgeMs) {
      const measure = measureOutbox(db, { timeoutMs }).catch((error) => {
        log.warn('the outbox was not measured', errorFields(error))
        return undefined
      })
      last = { at: performance.now(), measure }
    }
    return settleWithin(timeoutMs, last.measure)
  }
}
