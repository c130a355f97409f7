// Makes the files that wrangler takes from dist/: the reference page, and the mended postgres.js for workerd.
// wrangler runs no plugins of esbuild.
import { build } from 'esbuild'
import { options } from './build.mjs'
import { patchPostgres } from './patch-postgres.mjs'
import { copyReferencePage } from './reference-page.mjs'

copyReferencePage()
await build({
  absWorkingDir: options.absWorkingDir,
  entryPoints: ['postgres'],
  outfile: 'dist/workerd/postgres.js',
  bundle: true,
  format: 'esm',
  conditions: ['workerd'],
  external: ['node:*', 'cloudflare:*'],
  plugins: [patchPostgres],
  sourcemap: true,
  logLevel: 'warning',
})
