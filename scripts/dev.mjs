// `npm run dev`: builds on every change and starts the API anew, once the one before has stopped.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { context } from 'esbuild'
import { options } from './build.mjs'
import { copyReferencePage } from './reference-page.mjs'

let api
let restarting = Promise.resolve()

async function restart() {
  await stop()
  api = spawn(process.execPath, ['--enable-source-maps', 'dist/api.js'], { stdio: 'inherit' })
}

async function stop() {
  if (!api || api.exitCode !== null || api.signalCode !== null) return
  const closed = once(api, 'close')
  api.kill('SIGTERM')
  await closed
}

const restartOnBuild = {
  name: 'restart-on-build',
  setup(build) {
    build.onEnd(({ errors }) => {
      if (errors.length === 0) restarting = restarting.then(restart)
    })
  },
}

copyReferencePage()
const watcher = await context({ ...options, logLevel: 'info', plugins: [restartOnBuild] })
await watcher.watch()

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    await watcher.dispose()
    await restarting
    await stop()
    process.exit(0)
  })
}
