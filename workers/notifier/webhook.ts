/** Tells people by a webhook. Only what every runtime has: fetch and WebCrypto. */
import type { ChannelOptions } from '../../src/config/notifications.ts'
import type { Channel } from './channel.ts'
import { createGate } from './gate.ts'
import { completionText } from './messages.ts'

/**
 * Posts Slack's `text` and the whole `event`, as Standard Webhooks has it; with secrets it is signed with each of them.
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
    async tell({ event, input, timeoutMs }) {
      const body = JSON.stringify({ text: completionText(event), event: input })
      // The event's id on every attempt, so that a receiver can drop what it has had.
      const id = event.id
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

/** The package that verifies it weighs as much as a tenth of what the notifier may at the edge; the tests hold us to it. */
async function sign(secret: string, text: string) {
  const raw = Uint8Array.from(atob(secret.replace(/^whsec_/, '')), (character) => character.charCodeAt(0))
  const algorithm = { name: 'HMAC', hash: 'SHA-256' }
  const key = await crypto.subtle.importKey('raw', raw, algorithm, false, ['sign'])
  const mac = await crypto.subtle.sign(algorithm.name, key, new TextEncoder().encode(text))
  return `v1,${btoa(String.fromCharCode(...new Uint8Array(mac)))}`
}

/**
 * Resolves when the receiver has answered. Redirects are not followed: the event goes where the operator said, nowhere else.
 * @throws Error otherwise, after `timeoutMs` at the latest
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
  // Nothing in the answer matters but its head; the body may even be endless.
  await response.body?.cancel().catch(() => undefined)
  return response
}

function reason(error: unknown, timeoutMs: number) {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
  // Node says only "fetch failed"; what went wrong is in the cause.
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message
}
