// Mends postgres.js 3.4.9 in every bundle: a statement and its answer stayed in memory until a full garbage
// collection. docs/decisions.md has the reason.
import { readFileSync } from 'node:fs'

/** V8 allocates a function literal that is assigned straight to a property in old space. */
const before = `
    this.resolve = x => (this.active = false, resolve(x))
    this.reject = x => (this.active = false, reject(x))
`
const after = `
    const settle = (x) => (this.active = false, resolve(x))
    const fail = (x) => (this.active = false, reject(x))
    this.resolve = settle
    this.reject = fail
`

/** A plugin of esbuild. Fails the build when the package no longer has these lines. */
export const patchPostgres = {
  name: 'patch-postgres',
  setup(build) {
    // `src` on Node, `cf/src` on workerd.
    build.onLoad(
      { filter: /[\\/]node_modules[\\/]postgres[\\/](.+[\\/])?src[\\/]query\.js$/ },
      ({ path }) => {
        const text = readFileSync(path, 'utf8')
        if (text.split(before).length === 2) return { contents: text.replace(before, after) }
        const reason =
          'the lines that scripts/patch-postgres.mjs mends are not here: see whether it still needs to'
        return { errors: [{ text: reason, location: { file: path } }] }
      },
    )
  },
}
