// `npm run dev`: builds on every change, stops the API and starts it again.
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
      await print('error', errors)
      await print('warning', warnings)
      if (errors.length === 0) restarting = restarting.then(restart)
    })
  },
}

/** esbuild's own logging ends the process when its output is closed. */
async function print(kind, messages) {
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
const watcher = await context({
  ...options,
  logLevel: 'silent',
  plugins: [...options.plugins, restartOnBuild],
})
await watcher.watch()

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, async () => {
    if (ending) {
      // A second SIGTERM is passed on to end the API at once. Other signals are not: a terminal sends them to
      // the API itself, and under npm one Ctrl-C arrives here twice.
      if (signal === 'SIGTERM') api?.kill(signal)
      return
    }
    ending = true
    // Pass on the same signal: a terminal has sent it to the API already, which ignores the repeat.
    await stop(signal)
    await restarting
    await watcher.dispose()
    process.exit(0)
  })
}
