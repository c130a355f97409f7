// Bundles and runs one TypeScript file, which Node 20 cannot: `node scripts/run.mjs bench/explain.ts …`.
// The bundle is two folders down, like test/support, whose modules find the root relative to themselves.
import { spawn } from 'node:child_process'
import { basename, join } from 'node:path'
import { build } from 'esbuild'
import { options } from './build.mjs'

const [, , file, ...args] = process.argv
const outfile = join(options.absWorkingDir, 'dist/bench', `${basename(file, '.ts')}.js`)
const { entryPoints, outdir, external, plugins, ...common } = options
await build({ ...common, packages: 'external', entryPoints: [file], outfile })
const child = spawn(process.execPath, ['--enable-source-maps', outfile, ...args], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('close', (code) => {
  process.exitCode = code ?? 1
})
