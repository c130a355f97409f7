/** The ways in which people are told, besides the log. */
import type { Notifications } from '../../src/config/notifications.ts'
import { StartError } from '../../src/core/start-error.ts'
import type { Channel } from './channel.ts'
import type { EmailOptions } from './email.ts'
import { webhookChannel } from './webhook.ts'

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
