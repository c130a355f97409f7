/** Every route of the app is in the OpenAPI document, and back. */
import { expect, test } from 'vitest'
import { createApp, operations } from '../../src/app.ts'
import { describeOperations } from '../../src/http/openapi.ts'

/** Only mounted, never asked. */
const app = createApp({
  provide: () => {
    throw new Error('no request is made')
  },
  connectionAddress: () => undefined,
  corsOrigins: ['https://app.example.com'],
  publicUrl: '',
  referencePage: (_, next) => next(),
})

/** Not operations of the API: the page that shows the document, and what it loads. */
const referencePage = ['GET /docs', 'GET /docs/*']

const withoutSlash = (path: string) => path.replace(/(.)\/$/, '$1')

test('the document has every route of the app, the app every operation of the document', () => {
  const { paths } = describeOperations(operations, '') as { paths: Record<string, object> }
  const documented = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${withoutSlash(path)}`),
  )
  // Middleware is mounted for all methods.
  const routes = app.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${withoutSlash(path).replace(/:(\w+)/g, '{$1}')}`)
    .filter((route) => !referencePage.includes(route))
  expect([...new Set(routes)].sort()).toEqual(documented.sort())
  expect(documented).toContain('PATCH /api/tasks/{id}')
})

test('a route that nobody is told of would be noticed', () => {
  const routes = new Set(app.routes.map(({ method, path }) => `${method} ${path}`))
  for (const route of referencePage) expect(routes).toContain(route)
})

test('what is mounted for all methods is middleware, on all paths or those of the API', () => {
  const everywhere = app.routes.filter(({ method }) => method === 'ALL').map(({ path }) => path)
  expect(new Set(everywhere)).toEqual(new Set(['/*', '/api/*']))
})

test('the document names the server that PUBLIC_URL says', () => {
  expect(describeOperations(operations, 'https://tasks.example.com')).toMatchObject({
    servers: [{ url: 'https://tasks.example.com' }],
  })
  expect(describeOperations(operations, '')).toMatchObject({ servers: [{ url: '/' }] })
})
