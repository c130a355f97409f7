/** The operations of the served OpenAPI document, and requests that are made of its examples. */
import { type Answer, type createClient, newName, type RequestOptions, type User } from './client.ts'
import type { Target } from './targets.ts'

type Json = Record<string, unknown>
type Content = Record<string, { schema: object; examples?: Record<string, { value: Json }> }>
type Parameter = { name: string; in: string; schema: { examples?: unknown[] } }

export type DocumentedOperation = {
  /** In capitals. */
  method: string
  /** A parameter is a segment such as `{id}`. */
  path: string
  tags: string[]
  authenticated: boolean
  queryParameters: string[]
  headerParameters: string[]
  /** Empty where no body is taken. */
  mediaTypes: string[]
  /** JSON schema of the body. */
  body: { $ref?: string } | undefined
  /** Bodies that succeed, the plainest first. */
  examples: Json[]
  /** By status, the headers of the answer, and the schemas of its body by its media type. */
  responses: Record<string, { headers?: Json; content?: Content }>
}

type OpenApiOperation = {
  tags: string[]
  security: object[]
  parameters?: Parameter[]
  requestBody?: { content: Content }
  responses: DocumentedOperation['responses']
}

export type OpenApiDocument = {
  openapi: string
  paths: Record<string, Record<string, OpenApiOperation & { operationId: string; summary: string }>>
  components: {
    schemas: Record<string, { properties?: Record<string, object> }>
    headers: Record<string, { required: boolean; schema: object }>
  }
}

export async function readDocument(target: Pick<Target, 'baseUrl'>): Promise<OpenApiDocument> {
  const response = await fetch(new URL('/openapi.json', target.baseUrl))
  return (await response.json()) as OpenApiDocument
}

export const listOperations = ({ paths }: OpenApiDocument): DocumentedOperation[] =>
  Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, operation]) => describeOperation(method, path, operation)),
  )

function describeOperation(method: string, path: string, operation: OpenApiOperation): DocumentedOperation {
  const { tags, security, parameters = [], requestBody, responses } = operation
  const parametersIn = (place: string) =>
    parameters.flatMap(({ name, in: actual }) => (actual === place ? [name] : []))
  const [content] = Object.values(requestBody?.content ?? {})
  return {
    method: method.toUpperCase(),
    path,
    tags,
    authenticated: security.length > 0 && security.every((schemes) => Object.keys(schemes).length > 0),
    queryParameters: parametersIn('query'),
    headerParameters: parametersIn('header'),
    mediaTypes: Object.keys(requestBody?.content ?? {}),
    body: content?.schema,
    examples: Object.values(content?.examples ?? {}).map(({ value }) => value),
    responses,
  }
}

/** Names of the members that its body may have. */
export function membersOf({ components }: OpenApiDocument, { body }: DocumentedOperation): string[] {
  const schema = components.schemas[body?.$ref?.split('/').at(-1) ?? '']
  return Object.keys(schema?.properties ?? {})
}

/** Rows for `test.each`, each named by method and path. */
export const table = (operations: DocumentedOperation[]) =>
  operations.map((operation) => [`${operation.method} ${operation.path}`, operation] as const)

/** The path with this in place of every id. */
export const withId = (path: string, id = '1') => path.replace(/\{\w+\}/g, () => id)

/** The example, with values of this user in members that name users, their secrets or what they own. */
export function withOwnValues(
  example: Json,
  { responses }: DocumentedOperation,
  user: Pick<User, 'username' | 'password' | 'refreshToken'> & { id: unknown },
  freeName = newName(),
): Json {
  const own: Json = {
    // A name that is created has to be free.
    username: responses['201'] ? freeName : user.username,
    password: user.password,
    current_password: user.password,
    refresh_token: user.refreshToken,
    created_by: user.id,
    assigned_to: user.id,
  }
  const isOwn = (name: string, value: unknown) => value !== null && Object.hasOwn(own, name)
  const entries = Object.entries(example)
  return Object.fromEntries(entries.map(([name, value]) => [name, isOwn(name, value) ? own[name] : value]))
}

export type PreparedRequest = {
  method: string
  path: string
  options: { token?: string; json?: Json }
  user: User
}

/** Makes requests that succeed, once, with everything that they change made for them alone. */
export function createPreparer(client: ReturnType<typeof createClient>, operations: DocumentedOperation[]) {
  const { request, register, anyUser, logIn } = client

  async function prepare(operation: DocumentedOperation, example = 0): Promise<PreparedRequest> {
    const { method, path, tags, authenticated, examples } = operation
    const user = await (tags.includes('Accounts') ? register() : anyUser())
    const body = examples[example]
    return {
      method,
      path: await fillPath(path, user),
      options: {
        ...(authenticated ? { token: user.token } : {}),
        ...(body ? { json: withOwnValues(body, operation, user) } : {}),
      },
      user,
    }
  }

  /** Makes what the ids of the path name. */
  async function fillPath(template: string, user: User): Promise<string> {
    const [, parent, rest] = /^(.*)\{\w+\}(.*)$/.exec(template) ?? []
    if (parent === undefined) return template
    const collection = await fillPath(parent, user)
    return `${collection}${await makeMember(parent, collection, user)}${rest}`
  }

  /** @param template path of the collection in the document */
  async function makeMember(template: string, collection: string, user: User): Promise<number> {
    const { token } = user
    const create = operations.find(({ method, path }) => method === 'POST' && path === template)
    if (create) {
      const json = withOwnValues(create.examples[0] ?? {}, create, user)
      return (await request('POST', collection, { token, json })).body.id
    }
    // Only logging in makes a session.
    await logIn(user.username, user.password)
    const { body } = await request('GET', collection, { token })
    return body.results.find(({ current }: { current: boolean }) => !current).id
  }

  /** Sends the request that would succeed, but for the changes. */
  async function send(
    operation: DocumentedOperation,
    { query = '', ...change }: RequestOptions & { query?: string } = {},
  ): Promise<Answer> {
    const { method, path, options } = await prepare(operation)
    const { json, ...rest } = options
    const hasBody = change.body !== undefined || change.form !== undefined
    return request(method, path + query, { ...rest, ...(json && !hasBody ? { json } : {}), ...change })
  }

  return { prepare, fillPath, makeMember, send }
}
