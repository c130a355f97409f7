/** The map: middleware in order, and the features. */
import { Hono, type MiddlewareHandler } from 'hono'
import { createAccounts } from './accounts/handlers.ts'
import { createHealth, mountReferencePage } from './health/handlers.ts'
import * as healthOperations from './health/operations.ts'
import { createReadinessCheck } from './health/readiness.ts'
import { crossOrigin } from './http/cors.ts'
import type { Runtime } from './http/deps.ts'
import { mount } from './http/implement.ts'
import { describeOperations } from './http/openapi.ts'
import type { Operation } from './http/operation.ts'
import { createRespond } from './http/respond.ts'
import { lockTasksOf } from './tasks/access.ts'
import { tasks } from './tasks/handlers.ts'

type AppOptions = Runtime & {
  /** Origins whose pages may call; none by default. */
  corsOrigins: string[]
  publicUrl: string
  /** Serves `/docs` and the files below it, where the platform does not. */
  referencePage?: MiddlewareHandler
}

/** In the order of the reference page's chapters. */
const features = [tasks, createAccounts({ lockTasksOf })]

/** Every operation of the API, as it is declared. */
export const operations: Operation[] = [
  ...features.flat().map(({ operation }) => operation),
  ...Object.values(healthOperations),
]

export function createApp({ corsOrigins, publicUrl, referencePage, ...runtime }: AppOptions): Hono {
  const app = new Hono({ strict: false })
  const readiness = createReadinessCheck()
  const health = createHealth({
    describe: () => describeOperations(operations, publicUrl),
    checkReadiness: readiness.check,
  })

  const respond = createRespond(runtime, readiness.note)
  if (corsOrigins.length > 0) app.use(crossOrigin(corsOrigins, respond))
  if (referencePage) mountReferencePage(app, referencePage, respond)
  mount(app, [...features.flat(), ...health], respond)

  // Only errors of middleware come to this.
  app.onError((error, c) => respond(c, () => Promise.reject(error)))
  return app
}
