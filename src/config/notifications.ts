/**
 * The notifier's channels, each with its settings. The API that starts the notifier checks them too, so that
 * a wrong one stops the start before anything has begun. To add a channel, declare it here and open it in
 * workers/notifier/channels.ts.
 */
import * as z from 'zod/mini'
import { StartError } from '../core/start-error.ts'
import { list, secret, text, webhookUrl } from './settings.ts'

/** A secret as Standard Webhooks writes it: `whsec_` and 24 to 64 bytes in base64. */
function isWebhookSecret(text: string) {
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? []
  try {
    const { length } = atob(base64 ?? '')
    return length >= 24 && length <= 64
  } catch {
    return false
  }
}

/** An address in ASCII without name or quotes: nothing in it can end a header or add a recipient. */
function isAddress(text: string) {
  return /^[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i.test(text)
}

/** User and password come together. Path, query and fragment would have no meaning. */
function isSmtpUrl(text: string) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^smtps?:$/.test(url.protocol) || !/^\[?[\w.:-]+\]?$/.test(url.hostname)) return false
  if (!/^\/?$/.test(url.pathname) || url.search || url.hash || !url.username !== !url.password) return false
  try {
    // A % in a password must be written %25; a line break would begin an SMTP command.
    return [url.username, url.password].every((part) => !/\p{Cc}/u.test(decodeURIComponent(part)))
  } catch {
    return false
  }
}

type Schemas = Record<string, z.core.$ZodType>

/** A channel is open when any of its settings is given, and then needs the `needed` ones. */
const declare = <S extends Schemas, Needed extends keyof S & string>(channel: {
  settings: S
  needed: Needed[]
}) => channel

const channels = {
  webhook: declare({
    settings: {
      NOTIFY_WEBHOOK_URL: webhookUrl,
      NOTIFY_WEBHOOK_SECRET: secret(
        list(
          isWebhookSecret,
          'give whsec_ and 24 to 64 bytes in base64, such as "whsec_$(openssl rand -base64 32)"; or several, separated by commas',
        ),
      ),
    },
    needed: ['NOTIFY_WEBHOOK_URL'],
  }),
  email: declare({
    settings: {
      SMTP_URL: secret(
        text(
          isSmtpUrl,
          'give a URL such as smtps://user:password@mail.example.com or smtp://mail.example.com:587, in which only : / % @ of a password are written as %3A %2F %25 %40',
        ),
      ),
      NOTIFY_EMAIL_TO: list(
        isAddress,
        'give addresses such as ops@example.com, separated by commas, without names',
      ),
      NOTIFY_EMAIL_FROM: text(isAddress, 'give an address such as tasks@example.com, without a name'),
    },
    needed: ['SMTP_URL', 'NOTIFY_EMAIL_TO'],
  }),
}

type Channels = typeof channels
export type ChannelName = keyof Channels
export const channelNames = Object.keys(channels) as ChannelName[]

type Outputs<S extends Schemas> = { [Name in keyof S]: z.output<S[Name]> }
type OptionsOf<C extends { settings: Schemas; needed: string[] }> = Partial<Outputs<C['settings']>> &
  Pick<Outputs<C['settings']>, C['needed'][number] & keyof C['settings']>
/** The settings of one channel, by their names. */
export type ChannelOptions<Name extends ChannelName> = OptionsOf<Channels[Name]>
/** The channels that are configured. */
export type Notifications = { [Name in ChannelName]?: ChannelOptions<Name> }

type SettingName = { [Name in ChannelName]: keyof Channels[Name]['settings'] }[ChannelName]

export const NotificationSettings = Object.fromEntries(
  Object.values<{ settings: Schemas }>(channels).flatMap(({ settings }) =>
    Object.entries(settings).map(([name, schema]) => [name, z.optional(schema)]),
  ),
) as Record<SettingName, z.ZodMiniOptional>

/** @throws StartError in one line when a channel has some of its settings, but not those it needs */
export function notificationsOf(values: Record<string, unknown>): Notifications {
  const configured = Object.entries(channels).flatMap(([name, { settings, needed }]) => {
    const given = Object.keys(settings).filter((setting) => values[setting] !== undefined)
    if (given.length === 0) return []
    const missing = needed.filter((setting) => !given.includes(setting))
    if (missing.length > 0) {
      const remedy = missing.length + given.length === 2 ? 'both, or neither' : 'all of them, or none'
      throw new StartError(`${missing.join(', ')}: missing beside ${given.join(', ')}; give ${remedy}`)
    }
    return [[name, Object.fromEntries(given.map((setting) => [setting, values[setting]]))]]
  })
  return Object.fromEntries(configured)
}
