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

export type Task = {
  id: number
  title: string
  description: string | null
  status: 'pending' | 'completed'
  assigned_to: number | null
  created_by: number
  created_at: string
  updated_at: string
  completed_at: string | null
}

export type Client = Pick<ReturnType<typeof createClient>, 'address' | 'request' | 'register' | 'logIn'>

export const newAddress = () => `198.${randomInt(18, 20)}.${randomInt(256)}.${randomInt(256)}`
export const newName = (prefix = 'user') => `${prefix}-${randomUUID().slice(0, 13)}`
export const taskPath = ({ id }: { id: number }) => `/api/tasks/${id}/`

export function createClient<T extends Pick<Target, 'baseUrl' | 'addressHeader'>>(
  target: T,
  address = newAddress(),
) {
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

  async function logOut(refreshToken: string) {
    const { status } = await request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
    if (status !== 200) throw new Error(`revoke answered ${status}`)
  }

  /** Afterwards the user's id names nobody. */
  async function deleteAccount({ token, password }: User) {
    const { status, body } = await request('DELETE', '/api/users/me/', { token, json: { password } })
    if (status !== 204) throw new Error(`deleting the account answered ${status} ${JSON.stringify(body)}`)
  }

  /** A task that has to be accepted. */
  async function createTask(token: string, values: Partial<Task> = {}): Promise<Task> {
    const { status, body } = await request('POST', '/api/tasks/', {
      token,
      json: { title: newName('task'), ...values },
    })
    if (status !== 201) throw new Error(`creating a task answered ${status} ${JSON.stringify(body)}`)
    return body
  }

  return { target, address, request, register, logIn, logOut, deleteAccount, createTask }
}
