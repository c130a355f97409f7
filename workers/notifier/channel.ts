import type { ChannelState } from './gate.ts'
import type { Notification } from './messages.ts'

/** `event` is the event as it was received. */
export type Message = { notification: Notification; event: unknown; timeoutMs: number }

/** A receiver of notifications. Each channel is retried on its own. */
export type Channel = {
  /** Unique. It appears in logs and errors, so it contains no secret. */
  name: string
  /**
   * Resolves when the receiver has accepted the notification, and rejects after `timeoutMs` at the latest.
   * @throws ThrottledError while the receiver throttles, StoppedError once it is gone for good, and otherwise
   * Error with the reason in one line without secrets
   */
  send(message: Message): Promise<void>
  /** A channel without it is always open. */
  state?(): ChannelState
}
