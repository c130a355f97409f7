// Bundles each entry into dist/ and copies the reference page's files beside them.
// Packages stay outside the bundle: they are installed beside it, and native ones cannot be bundled.
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { copyReferencePage } from './reference-page.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/** What esbuild needs to know; `scripts/dev.mjs` watches with the same options. */
export const options = {
  absWorkingDir: root,
  entryPoints: {
    api: 'src/node.ts',
    'api-worker': 'src/node-worker.ts',
    'dev-edge': 'src/dev-edge.ts',
    migrate: 'src/migrate.ts',
    outbox: 'src/commands/outbox.ts',
    users: 'src/commands/users.ts',
    doctor: 'src/commands/doctor.ts',
    'bcrypt-worker': 'src/runtime/bcrypt-worker.ts',
    notifier: 'workers/notifier/node.ts',
    'notifier-invoke': 'workers/notifier/invoke.ts',
    'notifier-inspect': 'workers/notifier/inspect.ts',
  },
  outdir: 'dist',
  bundle: true,
  packages: 'external',
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  logLevel: 'warning',
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build(options)
  copyReferencePage()
}
