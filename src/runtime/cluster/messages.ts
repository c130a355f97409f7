/** What the process that started the others and each of those say to each other, over node:cluster's channel. */

import type { Snapshot } from '../metrics/prometheus.ts'
import type { Backing } from '../shared-services.ts'

export type ToWorker =
  /** `place` is its number among the processes, from 1. */
  | { kind: 'serve'; backing: Backing; place: number }
  | { kind: 'scrape' }
  /** It goes on serving, but says that it will not for long. */
  | { kind: 'drain' }
  | { kind: 'stop' }

export type FromWorker =
  /** Its code has been read: a message sent before would be lost. */
  | { kind: 'ready' }
  /** It cannot serve, for a reason that a person can act on. */
  | { kind: 'refused'; reason: string }
  /** What it has counted so far, as it was asked. */
  | { kind: 'counted'; snapshot: Snapshot }
