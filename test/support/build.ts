import { execFileSync } from 'node:child_process'
import { makeFirstStart } from './first-start.ts'

/** Every Vitest project has a copy of this module, but all are in one process. */
const shared = globalThis as { taskApiBuild?: Promise<() => Promise<void>> }

/** Builds once for a run of the tests: the bundles in dist/ and the zips for AWS Lambda. */
export default function build() {
  shared.taskApiBuild ??= make()
  return shared.taskApiBuild
}

async function make() {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
  execFileSync(process.execPath, ['scripts/build-lambda.mjs'], { stdio: ['ignore', 'ignore', 'inherit'] })
  return makeFirstStart()
}
