/** Routes of the app: a request of an operation must not pass through a chain of handlers. */
import { expect, test } from 'vitest'
import { createApp, operations } from '../../src/app.ts'

const app = createApp({
  provide: () => {
    throw new Error('no request is answered here')
  },
  connectionAddress: () => undefined,
  proxiesAreNear: false,
  corsOrigins: [],
  publicUrl: '',
})

test.each(operations.map(({ method, path }) => [method.toUpperCase(), path.replace(':id', '5')]))(
  '%s %s has one handler',
  (method, path) => {
    const [handlers] = app.router.match(method, path.replace(/(?<=.)\/$/, ''))
    expect(handlers).toHaveLength(1)
  },
)
