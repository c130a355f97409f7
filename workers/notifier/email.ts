/** The e-mail channel, by SMTP. Only on Node. */
import type { ChannelOptions } from '../../src/config/notifications.ts'
import { isLoopback } from '../../src/core/host.ts'
import { oneLine } from '../../src/core/plain-text.ts'
import type { Channel } from './channel.ts'
import { mailText } from './messages.ts'

/** Servers allow few connections. They stay open for `idleMs`, for the next events of a burst. */
const connections = 3
const idleMs = 2_000
const verifyMs = 5_000

/**
 * Returns a channel for each address, so that one that is refused does not delay the others. Without
 * NOTIFY_EMAIL_FROM the sender is SMTP_URL's user, if an address, or task-api at the first domain.
 */
export function emailChannels({
  SMTP_URL: smtpUrl,
  NOTIFY_EMAIL_TO: to,
  NOTIFY_EMAIL_FROM: from,
}: ChannelOptions<'email'>): Channel[] {
  const { user, ...server } = readSmtpUrl(smtpUrl)
  const sender = from ?? (user?.includes('@') ? user : `task-api@${domainOf(to[0] ?? '')}`)
  // Loaded only when mail is configured.
  const transport = import('nodemailer').then(({ createTransport }) =>
    createTransport({
      ...server,
      pool: true,
      maxConnections: connections,
      idleTimeout: idleMs,
      // Only for a mail of which nothing was sent, because the server had closed the connection.
      maxRequeues: 1,
      disableFileAccess: true,
      disableUrlAccess: true,
    }),
  )
  return to.map((address) => ({
    name: `e-mail to ${address}`,
    async send({ notification, timeoutMs }) {
      const { subject, text } = mailText(notification)
      try {
        await (await transport).sendMail({
          text,
          from: { name: 'Task API', address: sender },
          to: { name: '', address },
          // The same on every attempt, so that mail programs recognize a repeated mail.
          messageId: `<${notification.id}@${domainOf(sender)}>`,
          // No out-of-office answers (RFC 3834).
          headers: { 'Auto-Submitted': 'auto-generated', Subject: subjectHeader(subject) },
          signal: AbortSignal.timeout(timeoutMs),
        })
      } catch (error) {
        throw new Error(reason(error, timeoutMs), { cause: error })
      }
    },
  }))
}

/** Connects, and logs in if there is a user, without sending mail. @throws Error in one line */
export async function verifySmtp(smtpUrl: string): Promise<void> {
  const { user: _, ...server } = readSmtpUrl(smtpUrl)
  const { createTransport } = await import('nodemailer')
  const transport = createTransport({
    ...server,
    connectionTimeout: verifyMs,
    greetingTimeout: verifyMs,
    socketTimeout: verifyMs,
  })
  try {
    await transport.verify()
  } catch (error) {
    throw new Error(reason(error, verifyMs), { cause: error })
  } finally {
    transport.close()
  }
}

function readSmtpUrl(text: string) {
  const url = new URL(text)
  const user = decodeURIComponent(url.username)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  return {
    host,
    ...(url.port && { port: Number(url.port) }),
    secure: url.protocol === 'smtps:',
    // A password is never sent over the network unencrypted.
    requireTLS: user !== '' && !isLoopback(host),
    ...(user && { user, auth: { user, pass: decodeURIComponent(url.password) } }),
  }
}

/** Encodes a title that looks like an encoded word (RFC 2047), so that mail programs show it as typed. */
function subjectHeader(subject: string) {
  if (!subject.includes('=?')) return subject
  // Ten characters have at most 40 bytes. An encoded word may have 75 characters.
  const words = subject
    .match(/.{1,10}/gsu)
    ?.map((part) => `=?utf-8?B?${Buffer.from(part).toString('base64')}?=`)
  return { prepared: true, foldLines: true, value: words?.join(' ') ?? '' }
}

const domainOf = (address: string) => address.slice(address.lastIndexOf('@') + 1)

function reason(error: unknown, timeoutMs: number) {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `not sent within ${timeoutMs} ms`
  return oneLine(error.message)
}
