import type { CompletionEvent } from '../../src/events/completion-event.ts'

/** One way of telling people, tried apart from the others. */
export type Channel = {
  /** For logs and errors: nothing secret in it. Another channel has another name. */
  name: string
  /**
   * Resolves when the receiver has taken the event over; `input` is the event as it came.
   * @throws Error otherwise, after `timeoutMs` at the latest; its message says why, in one line without secrets
   */
  tell(message: { event: CompletionEvent; input: unknown; timeoutMs: number }): Promise<void>
}
