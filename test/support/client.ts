/** Talks to a target as any client would, over HTTP; every client has an address and, once made, users of its own. */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
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

export type Client = Pick<
  ReturnType<typeof createClient>,
  'address' | 'request' | 'register' | 'logIn' | 'createTask'
>

/** Of those reserved for ever (RFC 1112 section 4), so many that no two tests meet at one. */
export const newAddress = () => [randomInt(240, 255), ...randomBytes(3)].join('.')
export const newName = (prefix = 'user') => `${prefix}-${randomUUID().slice(0, 13)}`
/** Whether a request for the path gets to the target: nginx itself refuses what it cannot decode, and ways above the root. */
export const reaches = ({ behindNginx }: Pick<Target, 'behindNginx'>, path: string) =>
  !behindNginx || !/%00|%(?![\da-f]{2})|\/\.\.%2f\.\.%2f/i.test(path)
/** The entity tag as it leaves the target: nginx makes that of an answer weak when it compresses it. */
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
    // A HEAD has the type, and nothing of it.
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
  /** One user for all that ask: for what changes neither the account nor its sessions. */
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

  return { target, address, request, register, anyUser, logIn, logOut, deleteAccount, createTask }
}

/** An operation as the served OpenAPI document describes it. */
export type DocumentedOperation = {
  id: string
  /** In capitals. */
  method: string
  /** With `{id}` where a request has an id. */
  path: string
  authenticated: boolean
  queryParameters: string[]
  /** Empty where no body is taken. */
  mediaTypes: string[]
  /** Schema of the body. */
  body: object | undefined
  /** By status, the headers of the answer, and the schemas of its body by its media type. */
  responses: Record<string, { headers?: object; content?: Record<string, { schema: object }> }>
}

type OpenApiOperation = {
  operationId: string
  security: object[]
  parameters?: { name: string; in: string }[]
  requestBody?: { content: Record<string, { schema: object }> }
  responses: DocumentedOperation['responses']
}

/** What the target can do, from its own document. */
export async function listOperations(target: Pick<Target, 'baseUrl'>): Promise<DocumentedOperation[]> {
  const response = await fetch(new URL('/openapi.json', target.baseUrl))
  const { paths } = (await response.json()) as { paths: Record<string, Record<string, OpenApiOperation>> }
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(
      ([method, { operationId, security, parameters, requestBody, responses }]) => ({
        id: operationId,
        method: method.toUpperCase(),
        path,
        authenticated: security.length > 0 && security.every((schemes) => Object.keys(schemes).length > 0),
        queryParameters: (parameters ?? []).flatMap(({ name, in: place }) =>
          place === 'query' ? [name] : [],
        ),
        mediaTypes: Object.keys(requestBody?.content ?? {}),
        body: Object.values(requestBody?.content ?? {})[0]?.schema,
        responses,
      }),
    ),
  )
}

export type PreparedRequest = {
  method: string
  path: string
  token?: string
  json?: Record<string, string>
}

/** A request of this operation that will succeed, once, with everything that it changes made for it alone. */
export async function prepareRequest(
  { register, anyUser, logIn, request, createTask }: Omit<ReturnType<typeof createClient>, 'target'>,
  { id, method, path, authenticated }: DocumentedOperation,
): Promise<PreparedRequest> {
  const user = await (path.startsWith('/api/tasks/') ? anyUser() : register())
  const { username, password, token, refreshToken } = user
  const json: Record<string, Record<string, string>> = {
    register: { username: newName(), password },
    createToken: { username, password },
    refreshToken: { refresh_token: refreshToken },
    revokeToken: { refresh_token: refreshToken },
    changeMe: { email: 'ann@example.com' },
    deleteMe: { password },
    createTask: { title: 'Buy milk' },
    replaceTask: { title: 'Buy oat milk' },
    changeTask: { status: 'completed' },
  }
  async function idOf(): Promise<number> {
    if (path.startsWith('/api/tasks/')) return (await createTask(token)).id
    await logIn(username, password)
    const { body } = await request('GET', '/api/sessions/', { token })
    return body.results.find(({ current }: { current: boolean }) => !current).id
  }
  return {
    method,
    path: path.includes('{id}') ? path.replace('{id}', String(await idOf())) : path,
    ...(authenticated ? { token } : {}),
    ...(json[id] ? { json: json[id] } : {}),
  }
}

const leaks =
  /node_modules|\/src\/|\.[cm]?[jt]s:\d|\n +at |\bselect .* from |\binsert into |postgres|sqlstate|ECONN|zod/i

/** What keeps an answer from being the problem document (RFC 9457) of its status; nothing when it is one. */
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
 * Runs `act` within one window of a rate limit, so that all it counts weighs in full; anew should it have taken longer
 * than was left of the window. So `act` makes its own users and addresses.
 */
export async function inOneWindow<T>(windowSeconds: number, act: () => Promise<T>): Promise<T> {
  const windowMs = windowSeconds * 1000
  const windowNow = () => Math.floor(Date.now() / windowMs)
  for (let attempt = 0; attempt < 20; attempt++) {
    const left = windowMs - (Date.now() % windowMs)
    if (left < windowMs / 2) await sleep(left + 1)
    const begun = windowNow()
    const result = await act()
    if (windowNow() === begun) return result
  }
  throw new Error(`this machine is too slow for a window of ${windowSeconds} s`)
}

export async function inTurn<T>(count: number, act: (i: number) => Promise<T>): Promise<T[]> {
  const results = []
  for (let i = 0; i < count; i++) results.push(await act(i))
  return results
}

export const atOnce = <T>(count: number, act: (i: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => act(i)))

export const statuses = (answers: Answer[]) => answers.map(({ status }) => status)
