import { execFileSync } from 'node:child_process'

/** Tests run what `npm start` runs: the bundles in dist/. */
export default function build() {
  execFileSync(process.execPath, ['scripts/build.mjs'], { stdio: 'inherit' })
}
