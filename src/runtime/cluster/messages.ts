/** Messages between the primary process and its workers, over node:cluster's channel. */
import type { Snapshot } from '../metrics/prometheus.ts'
import type { SharedServices } from '../shared-services.ts'

export type ToWorker =
  /** `workerIndex` counts from 1. */
  | { kind: 'serve'; services: SharedServices; workerIndex: number }
  | { kind: 'scrape' }
  /** Go on serving, but report by /readyz that the end is near. */
  | { kind: 'drain' }
  | { kind: 'stop' }

export type FromWorker =
  /** The worker listens to messages; those sent earlier would be lost. */
  | { kind: 'ready' }
  /** The worker cannot serve, for a reason that an operator can act on. */
  | { kind: 'refused'; reason: string }
  /** Answer to `scrape`. */
  | { kind: 'counted'; snapshot: Snapshot }
