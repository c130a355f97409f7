// `npm run dev`: builds on every change and starts the API anew, once the one before has stopped.
import './node-version.mjs'

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { build, context, formatMessages } from 'esbuild'
import { options } from './build.mjs'
import { copyReferencePage } from './reference-page.mjs'

let api
let restarting = Promise.resolve()
let ending = false

async function restart() {
  await stop('SIGTERM')
  if (ending) return
  api = spawn(process.execPath, ['--enable-source-maps', 'dist/api.js'], { stdio: 'inherit' })
}

async function stop(signal) {
  if (!api || api.exitCode !== null || api.signalCode !== null) return
  const closed = once(api, 'close')
  api.kill(signal)
  await closed
}

const restartOnBuild = {
  name: 'restart-on-build',
  setup(build) {
    build.onEnd(async ({ errors, warnings }) => {
      await tell('error', errors)
      await tell('warning', warnings)
      if (errors.length === 0) restarting = restarting.then(restart)
    })
  },
}

/** esbuild itself ends when nobody can read what it prints. */
async function tell(kind, messages) {
  for (const message of await formatMessages(messages, { kind })) console.error(message)
}

const output = 'dist/output.js'
await build({
  ...options,
  outdir: undefined,
  entryPoints: ['src/runtime/process/output.ts'],
  outfile: output,
})
const { logOnOutput } = await import(`../${output}`)
logOnOutput()
copyReferencePage()
const watcher = await context({ ...options, logLevel: 'silent', plugins: [restartOnBuild] })
await watcher.watch()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, async () => {
    if (ending) {
      // A second one hurries; but one Ctrl-C comes twice under npm, and from a terminal the API has them all by itself.
      if (signal === 'SIGTERM') api?.kill(signal)
      return
    }
    ending = true
    // As it came: the terminal has sent it to the API too, which takes the same again for the same.
    await stop(signal)
    await restarting
    await watcher.dispose()
    process.exit(0)
  })
}
