/** The channels that the settings ask for, opened. */
import {
  type ChannelName,
  type ChannelOptions,
  channelNames,
  type Notifications,
} from '../../src/config/notifications.ts'
import { StartError } from '../../src/core/start-error.ts'
import type { Channel } from './channel.ts'
import { webhookChannel } from './webhook.ts'

type Openers = { [Name in ChannelName]: (options: ChannelOptions<Name>) => Channel[] }

const openers: Openers = {
  webhook: (options) => [webhookChannel(options)],
  // Skipping mail here would go unnoticed.
  email() {
    throw new StartError(
      'SMTP_URL: mail is sent by the notifier on Node only; unset it here with NOTIFY_EMAIL_TO, and give NOTIFY_WEBHOOK_URL',
    )
  },
}

/** `onNode` opens the channels that only Node has. @throws StartError for one that this runtime lacks */
export function openChannels(notifications: Notifications, onNode: Partial<Openers> = {}): Channel[] {
  const all: Openers = { ...openers, ...onNode }
  function open<Name extends ChannelName>(name: Name): Channel[] {
    const options = notifications[name]
    return options ? all[name](options) : []
  }
  return channelNames.flatMap((name) => open(name))
}
