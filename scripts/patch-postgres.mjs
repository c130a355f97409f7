// Mends postgres.js 3.4.9 in every bundle. docs/decisions.md has the reasons.
import { readFileSync } from 'node:fs'
import { basename } from 'node:path'

const mends = {
  // A statement and its answer stayed in memory until a full garbage collection: V8 allocates a function literal
  // that is assigned straight to a property in old space.
  'query.js': [
    `
    this.resolve = x => (this.active = false, resolve(x))
    this.reject = x => (this.active = false, reject(x))
`,
    `
    const settle = (x) => (this.active = false, resolve(x))
    const fail = (x) => (this.active = false, reject(x))
    this.resolve = settle
    this.reject = fail
`,
  ],
  // A prepared statement that the server no longer takes was sent again in the middle of those behind it, which
  // then got each other's rows. Now it fails, and is repeated by src/runtime/postgres/retry.ts.
  'connection.js': [
    `
    delete statements[q.signature]
    q.retried = error
    execute(q)
`,
    `
    delete statements[q.signature]
    errored(error)
`,
  ],
}

/** A plugin of esbuild. Fails the build when the package no longer has these lines. */
export const patchPostgres = {
  name: 'patch-postgres',
  setup(build) {
    // `src` on Node, `cf/src` on workerd.
    build.onLoad(
      { filter: /[\\/]node_modules[\\/]postgres[\\/](.+[\\/])?src[\\/](query|connection)\.js$/ },
      ({ path }) => {
        const text = readFileSync(path, 'utf8')
        const [before, after] = mends[basename(path)]
        if (text.split(before).length === 2) return { contents: text.replace(before, after) }
        const reason =
          'the lines that scripts/patch-postgres.mjs mends are not here: see whether it still needs to'
        return { errors: [{ text: reason, location: { file: path } }] }
      },
    )
  },
}
