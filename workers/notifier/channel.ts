import type { CompletionEvent } from '../../src/outbox/completion-event.ts'
import type { ChannelState } from './gate.ts'

/** One way of telling people, tried apart from the others. */
export type Channel = {
  /** For logs and errors: nothing secret in it. Another channel has another name. */
  name: string
  /**
   * Resolves when the receiver has taken the event over; `input` is the event as it came.
   * @throws Error otherwise, after `timeoutMs` at the latest; its message says why, in one line without secrets. A
   * ThrottledError or a StoppedError says that it is not the event's turn, or that the channel has no use any more
   */
  tell(message: { event: CompletionEvent; input: unknown; timeoutMs: number }): Promise<void>
  /** None: it is always open. */
  state?(): ChannelState
}
