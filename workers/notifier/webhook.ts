/** The webhook channel. Needs only fetch and WebCrypto, so it works on every runtime. */
import type { ChannelOptions } from '../../src/config/notifications.ts'
import type { Channel } from './channel.ts'
import { createGate } from './gate.ts'
import { chatText } from './messages.ts'

/**
 * Posts Slack's `text` and the whole `event`, signed with each secret as Standard Webhooks specifies.
 * https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
 */
export function webhookChannel({
  NOTIFY_WEBHOOK_URL: url,
  NOTIFY_WEBHOOK_SECRET: secrets = [],
}: ChannelOptions<'webhook'>): Channel {
  const target = new URL(url)
  const gate = createGate()
  return {
    name: 'webhook',
    state: gate.state,
    async send({ notification, event, timeoutMs }) {
      const { id } = notification
      const body = JSON.stringify({ text: chatText(notification), event })
      const timestamp = String(Math.floor(Date.now() / 1000))
      const signatures = await Promise.all(
        secrets.map((secret) => sign(secret, `${id}.${timestamp}.${body}`)),
      )
      const headers = {
        'webhook-id': id,
        'webhook-timestamp': timestamp,
        ...(signatures.length > 0 && { 'webhook-signature': signatures.join(' ') }),
      }
      await gate.pass(timeoutMs, () => post(target, body, timeoutMs, headers))
    },
  }
}

/** Written by hand: the official package is a tenth of the Worker's size budget. The tests verify with that package. */
async function sign(secret: string, text: string) {
  const raw = Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (character) => character.charCodeAt(0))
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', raw, algorithm, false, ['sign'])
  const mac = await crypto.subtle.sign(algorithm.name, key, new TextEncoder().encode(text))
  return `v1,${btoa(String.fromCharCode(...new Uint8Array(mac)))}`
}

/**
 * Resolves when the receiver has answered. Follows no redirects, which could lead to another server.
 * @throws Error after `timeoutMs` at the latest
 */
async function post(url: URL, body: string, timeoutMs: number, headers: Record<string, string>) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((error: unknown) => {
    throw new Error(reason(error, timeoutMs), { cause: error })
  })
  // Only the head is used. The body may be endless.
  await response.body?.cancel().catch(() => undefined)
  return response
}

function reason(error: unknown, timeoutMs: number) {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
  // Node says only "fetch failed" and has the reason in the cause.
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message
}
