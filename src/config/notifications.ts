/**
 * Where the notifier tells people: settings of its own, which the API that starts it looks at too, so that a bad one stops the
 * start before anything has begun.
 */
import * as z from 'zod/mini'
import { StartError } from '../core/start-error.ts'
import { form, text, WebhookUrlSetting } from './settings.ts'

/** Standard Webhooks' form of a secret: `whsec_` and 24 to 64 bytes in base64. */
function isWebhookSecret(text: string) {
  const [, base64] = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text) ?? []
  try {
    const { length } = atob(base64 ?? '')
    return length >= 24 && length <= 64
  } catch {
    return false
  }
}

/** A plain address in ASCII: no name, no quotes, nothing that could end a header or add a recipient. */
function isAddress(text: string) {
  return /^[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/i.test(text)
}

/** A user needs a password and the other way round; what else a URL can hold has no meaning here. */
function isSmtpUrl(text: string) {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^smtps?:$/.test(url.protocol) || !/^\[?[\w.:-]+\]?$/.test(url.hostname)) return false
  if (!/^\/?$/.test(url.pathname) || url.search || url.hash || !url.username !== !url.password) return false
  try {
    // A % in a password must be written %25; line breaks would be commands of their own.
    return [url.username, url.password].every((part) => !/\p{Cc}/u.test(decodeURIComponent(part)))
  } catch {
    return false
  }
}

/** Several, separated by commas, each of which must be right. */
const list = (isRight: (part: string) => boolean, advice: string) =>
  form((text) => {
    const parts = text.split(',').map((part) => part.trim())
    return parts.every(isRight) ? parts : undefined
  }, advice)

export const NotificationSettings = {
  NOTIFY_WEBHOOK_URL: WebhookUrlSetting,
  NOTIFY_WEBHOOK_SECRET: z.optional(
    list(
      isWebhookSecret,
      'give whsec_ and 24 to 64 bytes in base64, such as "whsec_$(openssl rand -base64 32)"; or several, separated by commas',
    ),
  ),
  NOTIFY_EMAIL_TO: z.optional(
    list(isAddress, 'give addresses such as ops@example.com, separated by commas, without names'),
  ),
  NOTIFY_EMAIL_FROM: z.optional(text(isAddress, 'give an address such as tasks@example.com, without a name')),
  SMTP_URL: z.optional(
    text(
      isSmtpUrl,
      'give a URL such as smtps://user:password@mail.example.com or smtp://mail.example.com:587, in which only : / % @ of a password are written as %3A %2F %25 %40',
    ),
  ),
}

export type Notifications = ReturnType<typeof notificationsOf>

type Values = { [Name in keyof typeof NotificationSettings]?: z.output<(typeof NotificationSettings)[Name]> }

/** @throws StartError in one line when some are set without those that they are nothing without */
export function notificationsOf({
  NOTIFY_WEBHOOK_URL: webhookUrl,
  NOTIFY_WEBHOOK_SECRET: secrets,
  NOTIFY_EMAIL_TO: to,
  NOTIFY_EMAIL_FROM: from,
  SMTP_URL: smtpUrl,
}: Values) {
  if (secrets && !webhookUrl)
    throw new StartError('NOTIFY_WEBHOOK_URL: missing beside NOTIFY_WEBHOOK_SECRET; give both, or neither')
  if (!smtpUrl !== !to)
    throw new StartError(
      `${smtpUrl ? 'NOTIFY_EMAIL_TO' : 'SMTP_URL'}: missing beside ${smtpUrl ? 'SMTP_URL' : 'NOTIFY_EMAIL_TO'}; give both, or neither`,
    )
  if (from && !smtpUrl)
    throw new StartError(
      'SMTP_URL, NOTIFY_EMAIL_TO: missing beside NOTIFY_EMAIL_FROM; give all three, or none',
    )
  return {
    webhook: webhookUrl ? { url: webhookUrl, secrets } : undefined,
    email: smtpUrl && to ? { smtpUrl, to, from } : undefined,
  }
}
