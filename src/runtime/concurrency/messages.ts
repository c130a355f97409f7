/** What the process that started the others and each of those say to each other, over node:cluster's channel. */
import type { Backing } from '../backing.ts'

export type ToWorker = { kind: 'serve'; backing: Backing; chores: boolean } | { kind: 'stop' }

export type FromWorker =
  /** Its code has been read: a message sent before would be lost. */
  | { kind: 'ready' }
  /** It cannot serve, for a reason that a person can act on. */
  | { kind: 'refused'; reason: string }
