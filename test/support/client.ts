/** Talks to a target as any client would, over HTTP; every client has an address and, once made, users of its own. */
import { randomInt, randomUUID } from 'node:crypto'
import type { Target } from './targets.ts'

// biome-ignore lint/suspicious/noExplicitAny: an answer's body is whatever the target sends; tests look into it.
type Body = any

export type Answer = { status: number; headers: Headers; body: Body }

export type RequestOptions = {
  /** Sent as JSON. */
  json?: unknown
  /** Sent as a form. */
  form?: Record<string, string>
  /** Sent as it is. */
  body?: string | Uint8Array<ArrayBuffer>
  token?: string
  headers?: Record<string, string>
}

export type User = { id: number; username: string; password: string; token: string; refreshToken: string }

export type Client = ReturnType<typeof createClient>

export const newAddress = () => `198.${randomInt(18, 20)}.${randomInt(256)}.${randomInt(256)}`
export const newName = (prefix = 'user') => `${prefix}-${randomUUID().slice(0, 13)}`

export function createClient(target: Target, address = newAddress()) {
  async function request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const { json, form, body, token, headers } = options
    const response = await fetch(new URL(path, target.baseUrl), {
      method,
      redirect: 'manual',
      headers: {
        [target.addressHeader]: address,
        ...(json !== undefined ? { 'Content-Type': 'application/json' } : {}),
        ...(token !== undefined ? { Authorization: `Bearer ${token}` } : {}),
        ...headers,
      },
      ...(json !== undefined ? { body: JSON.stringify(json) } : {}),
      ...(form !== undefined ? { body: new URLSearchParams(form) } : {}),
      ...(body !== undefined ? { body } : {}),
    })
    const text = await response.text()
    const isJson = /json/.test(response.headers.get('Content-Type') ?? '')
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text }
  }

  async function register(username = newName(), password = 'correct horse'): Promise<User> {
    const registered = await request('POST', '/api/register/', { json: { username, password } })
    if (registered.status !== 201) throw new Error(`register answered ${JSON.stringify(registered)}`)
    const { token, refreshToken } = await logIn(username, password)
    return { id: registered.body.id, username, password, token, refreshToken }
  }

  async function logIn(username: string, password: string) {
    const { status, body } = await request('POST', '/api/token/', { json: { username, password } })
    if (status !== 200) throw new Error(`login answered ${status} ${JSON.stringify(body)}`)
    return { token: body.access_token as string, refreshToken: body.refresh_token as string }
  }

  return { target, address, request, register, logIn }
}
