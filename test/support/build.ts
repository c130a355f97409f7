import { execFileSync } from 'node:child_process'
import { makeFirstStart } from './first-start.ts'

/** Every project of the tests asks, each with a copy of this module: what they share is the process. */
const shared = globalThis as { taskApiBuild?: Promise<() => Promise<void>> }

/** Tests run what `npm start` runs, the bundles in dist/, and what AWS Lambda runs, the zips beside them: made once for a run. */
export default function build() {
  shared.taskApiBuild ??= make()
  return shared.taskApiBuild
}

async function make() {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
  execFileSync(process.execPath, ['scripts/build-lambda.mjs'], { stdio: ['ignore', 'ignore', 'inherit'] })
  return makeFirstStart()
}
