/** Entry of the notifier on Workers: the handler behind the Invoke API, by service binding or HTTP. */

import { createLogger } from '../../src/core/log.ts'
import { functionTimeoutMs } from '../../src/outbox/timing.ts'
import { createExecution } from '../lambda/execution.ts'
import { createInvokeApi } from '../lambda/invoke-api.ts'
import { installLogCapture } from '../lambda/log-capture.ts'
import { openChannels } from './channels.ts'
import { createHandler, describeChannels } from './handler.ts'
import { readWorkerSettings } from './settings.ts'

type Env = Record<string, string | undefined>

/** Created once for an isolate, so that the handler stays warm. */
let app: ReturnType<typeof createInvokeApi> | undefined

function create(env: Env) {
  installLogCapture()
  const settings = readWorkerSettings(env)
  const channels = openChannels(settings.notifications)
  const log = createLogger(settings.LOG_LEVEL)
  return createInvokeApi({
    state: () => describeChannels(channels),
    execution: createExecution({
      load: () => createHandler({ channels }),
      functionName: settings.NOTIFIER_FUNCTION,
      concurrency: settings.NOTIFIER_CONCURRENCY,
      timeoutMs: functionTimeoutMs,
      log,
    }),
    credentials: { accessKeyId: settings.AWS_ACCESS_KEY_ID, secretAccessKey: settings.AWS_SECRET_ACCESS_KEY },
    region: settings.AWS_REGION,
    log,
  })
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    app ??= create(env)
    return app.fetch(request)
  },
}
