import { execFileSync } from 'node:child_process'

/** Tests run what `npm start` runs, the bundles in dist/, and what AWS Lambda runs, the zips beside them. */
export default function build() {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
  execFileSync(process.execPath, ['scripts/build-lambda.mjs'], { stdio: ['ignore', 'ignore', 'inherit'] })
}
