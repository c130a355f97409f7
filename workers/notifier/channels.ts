/** The ways in which people are told, besides the log. */
import type { CompletionEvent } from '../../src/events/completion-event.ts'
import type { Notifications } from '../../src/notification-settings.ts'
import { StartError } from '../../src/start-error.ts'
import type { EmailOptions } from './email.ts'
import { webhookChannel } from './webhook.ts'

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

/**
 * Those that the settings ask for.
 * @param emailChannels how to mail, where it can be done
 * @throws StartError when they ask for mail where it cannot: left out, nobody would notice that it never comes
 */
export function openChannels(
  { webhook, email }: Notifications,
  emailChannels?: (options: EmailOptions) => Channel[],
): Channel[] {
  if (email && !emailChannels) {
    throw new StartError(
      'SMTP_URL: mail is sent by the notifier on Node only; unset it here with NOTIFY_EMAIL_TO, and give NOTIFY_WEBHOOK_URL',
    )
  }
  return [...(webhook ? [webhookChannel(webhook)] : []), ...(email ? (emailChannels?.(email) ?? []) : [])]
}
