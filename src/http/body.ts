/** Reads a request's body: media type, size and encoding are checked before anything parses it. */
import type { Context } from 'hono'
import { Problem } from '../core/problem.ts'

export type MediaType =
  | 'application/json'
  | 'application/merge-patch+json'
  | 'application/x-www-form-urlencoded'

export const maximumBodyBytes = 64 * 1024

/** Leaves the body's value, or form, where the validator looks for it. @throws Problem 400, 413 or 415 */
export async function readBody(c: Context, accepted: MediaType[]): Promise<void> {
  const mediaType = acceptedMediaType(c.req.header('Content-Type'), accepted)
  const isPlain = /^(identity)?$/i.test(c.req.header('Content-Encoding') ?? '')
  if (!mediaType || !isPlain) {
    const detail = `Send the body as ${accepted.join(' or ')}, in UTF-8 and not compressed.`
    const headers = {
      ...(mediaType ? {} : { Accept: accepted.join(', '), ...acceptHeader(c.req.method, accepted) }),
      // RFC 9110 section 12.5.3: only where the coding is a reason.
      ...(isPlain ? {} : { 'Accept-Encoding': 'identity' }),
    }
    throw new Problem(415, detail, { headers })
  }
  const bytes = await readBytes(c).catch((error: unknown) => {
    throw new Problem(400, 'The body did not arrive whole.', { cause: error })
  })
  if (!bytes) throw new Problem(413, `A body has at most ${maximumBodyBytes} bytes.`)
  const text = decode(bytes)
  if (text === null) throw new Problem(400, 'The body is not UTF-8.')
  if (mediaType === 'application/x-www-form-urlencoded') {
    const form = readForm(text)
    if (!form) throw new Problem(400, 'The form is not UTF-8.')
    Object.assign(c.req.bodyCache, { formData: Promise.resolve(form) })
    return
  }
  const value = parseJson(text)
  const json = async () => value
  Object.assign(c.req, { json })
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new Problem(400, 'The body is not JSON.')
  }
}

/** Names the accepted media types: RFC 5789 section 3.1 for PATCH, W3C's Linked Data Platform for POST. */
export function acceptHeader(method: string, mediaTypes: MediaType[]): Record<string, string> {
  const name = { PATCH: 'Accept-Patch', POST: 'Accept-Post' }[method]
  return name ? { [name]: mediaTypes.join(', ') } : {}
}

/** Undefined for a media type that is not accepted here, and for a charset other than UTF-8. */
function acceptedMediaType(header: string | undefined, accepted: MediaType[]) {
  const [type, ...parameters] = (header ?? '').split(';').map((part) => part.trim().toLowerCase())
  const charset = parameters
    .find((parameter) => parameter.startsWith('charset='))
    ?.slice(8)
    .replaceAll('"', '')
  return charset === undefined || charset === 'utf-8' || charset === 'utf8'
    ? accepted.find((mediaType) => mediaType === type)
    : undefined
}

/** Null when the body is too large. */
async function readBytes(c: Context): Promise<Uint8Array | null> {
  const announced = c.req.header('Content-Length')
  if (announced !== undefined && c.req.header('Transfer-Encoding') === undefined) {
    // The server hands over no more than was announced (RFC 9112 section 6.3).
    return Number(announced) > maximumBodyBytes ? null : new Uint8Array(await c.req.arrayBuffer())
  }
  const chunks: Uint8Array[] = []
  let size = 0
  const reader = c.req.raw.body?.getReader()
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    size += part.value.byteLength
    if (size > maximumBodyBytes) {
      await reader?.cancel()
      return null
    }
    chunks.push(part.value)
  }
  const bytes = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    bytes.set(chunk, offset)
    offset += chunk.byteLength
  }
  return bytes
}

function decode(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return null
  }
}

/** Null where percent-encoded bytes are not UTF-8: replaced silently, many passwords would become one. */
function readForm(text: string): FormData | null {
  const form = new FormData()
  const replaced = '\uFFFD'
  const mayReplace = !/%ef%bf%bd/i.test(text) && !text.includes(replaced)
  for (const [name, value] of new URLSearchParams(text)) {
    if (mayReplace && (name.includes(replaced) || value.includes(replaced))) return null
    form.append(name, value)
  }
  return form
}
