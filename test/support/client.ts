/** An HTTP client of a target, with its own address and users. */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import type { Target } from './targets.ts'

// biome-ignore lint/suspicious/noExplicitAny: tests inspect what the target sends.
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

export type Client = Omit<ReturnType<typeof createClient>, 'target'>

/** A random address of a reserved range (RFC 1112 section 4), so that no two tests share one. */
export const newAddress = () => [randomInt(240, 255), ...randomBytes(3)].join('.')
export const newName = (prefix = 'user') => `${prefix}-${randomUUID().slice(0, 13)}`
/**
 * Whether a request for the path reaches the target: nginx refuses some encodings, and paths above the root.
 */
export const reaches = ({ behindNginx }: Pick<Target, 'behindNginx'>, path: string) =>
  !behindNginx || !/%00|%(?![\da-f]{2})|\/\.\.%2f\.\.%2f/i.test(path)
/** The entity tag as the target sent it: nginx makes the tag of a compressed answer weak. */
export const etagOf = ({ behindNginx }: Pick<Target, 'behindNginx'>, { headers }: Pick<Answer, 'headers'>) =>
  (headers.get('ETag') ?? 'none').replace(behindNginx ? /^W\// : '', '')
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
    // An answer to HEAD has the type without a body.
    const isJson = text !== '' && /json/.test(response.headers.get('Content-Type') ?? '')
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text }
  }

  async function register(username = newName(), password = 'correct horse'): Promise<User> {
    const registered = await request('POST', '/api/register/', { json: { username, password } })
    if (registered.status !== 201) throw new Error(`register answered ${JSON.stringify(registered)}`)
    const { token, refreshToken } = await logIn(username, password)
    return { id: registered.body.id, username, password, token, refreshToken }
  }

  let shared: Promise<User> | undefined
  /** The same user for every call, for tests that change neither the account nor its sessions. */
  const anyUser = () => (shared ??= register())

  async function logIn(username: string, password: string) {
    const { status, body } = await request('POST', '/api/token/', { json: { username, password } })
    if (status !== 200) throw new Error(`login answered ${status} ${JSON.stringify(body)}`)
    return { token: body.access_token as string, refreshToken: body.refresh_token as string }
  }

  async function logOut(refreshToken: string) {
    const { status } = await request('POST', '/api/token/revoke/', { json: { refresh_token: refreshToken } })
    if (status !== 200) throw new Error(`revoke answered ${status}`)
  }

  async function deleteAccount({ token, password }: User) {
    const { status, body } = await request('DELETE', '/api/users/me/', { token, json: { password } })
    if (status !== 204) throw new Error(`deleting the account answered ${status} ${JSON.stringify(body)}`)
  }

  const tryRegister = (password: unknown, username = newName()) =>
    request('POST', '/api/register/', { json: { username, password } })
  const tryLogIn = (username: string, password: string) =>
    request('POST', '/api/token/', { json: { username, password } })
  const refresh = (refreshToken: string) =>
    request('POST', '/api/token/refresh/', { json: { refresh_token: refreshToken } })
  const changePassword = (token: string, from: string, to: string) =>
    request('PATCH', '/api/users/me/', { token, json: { password: to, current_password: from } })
  const getMe = (token: string) => request('GET', '/api/users/me/', { token })
  const statusOfMe = async (token: string) => (await getMe(token)).status

  /** Throws if the task is refused. */
  async function createTask(token: string, values: Partial<Task> = {}): Promise<Task> {
    const { status, body } = await request('POST', '/api/tasks/', {
      token,
      json: { title: newName('task'), ...values },
    })
    if (status !== 201) throw new Error(`creating a task answered ${status} ${JSON.stringify(body)}`)
    return body
  }

  return {
    ...{ target, address, request, register, anyUser, logIn, logOut, deleteAccount, createTask },
    ...{ tryRegister, tryLogIn, refresh, changePassword, getMe, statusOfMe },
  }
}

const leaks =
  /node_modules|\/src\/|\.[cm]?[jt]s:\d|\n +at |\bselect .* from |\binsert into |postgres|sqlstate|ECONN|zod/i

/** Reasons why the answer is not the problem document of its status; empty when it is. */
export function problemFaults({ status, headers, body }: Answer): string[] {
  if (headers.get('Content-Type') !== 'application/problem+json')
    return [`a ${status} of type ${headers.get('Content-Type')}`]
  const { type, title, status: told, detail, errors = [] } = body
  const isText = (value: unknown) => typeof value === 'string' && value !== ''
  const isError = (error: Record<string, unknown>) =>
    isText(error.detail) &&
    Object.keys(error).length === 2 &&
    [error.pointer, error.parameter, error.header].filter((place) => typeof place === 'string').length === 1
  return [
    ...(isText(type) && (type === 'about:blank' || URL.canParse(type)) ? [] : [`type is ${type}`]),
    ...(isText(title) ? [] : [`title is ${title}`]),
    ...(told === status ? [] : [`a ${status} says it is a ${told}`]),
    ...(isText(detail) ? [] : [`detail is ${detail}`]),
    ...(Array.isArray(errors) && errors.every(isError) ? [] : [`errors are ${JSON.stringify(errors)}`]),
    ...(leaks.test(JSON.stringify(body)) ? [`it tells ${JSON.stringify(body)}`] : []),
  ]
}

/**
 * Runs `act` within one window of a rate limit, and again if the window ended meanwhile: it makes its own
 * users.
 */
export async function inOneWindow<T>(windowSeconds: number, act: () => Promise<T>): Promise<T> {
  const windowNow = () => Math.floor(Date.now() / windowSeconds / 1000)
  for (;;) {
    const begun = windowNow()
    const result = await act()
    if (windowNow() === begun) return result
  }
}

export async function inTurn<T>(count: number, act: (i: number) => Promise<T>): Promise<T[]> {
  const results = []
  for (let i = 0; i < count; i++) results.push(await act(i))
  return results
}

export const atOnce = <T>(count: number, act: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => act(i)))

export const statuses = (answers: Answer[]) => answers.map(({ status }) => status)
