// Bundles one TypeScript file and runs it: `node scripts/run.mjs bench/explain.ts …`. Node 20 reads no TypeScript.
// The bundle lies two folders down, as the files of test/support do that find the root from where they are.
import { spawn } from 'node:child_process'
import { basename, join } from 'node:path'
import { build } from 'esbuild'
import { options } from './build.mjs'

const [, , file, ...args] = process.argv
const outfile = join(options.absWorkingDir, 'dist/bench', `${basename(file, '.ts')}.js`)
const { entryPoints, outdir, external, ...common } = options
await build({ ...common, packages: 'external', entryPoints: [file], outfile })
const child = spawn(process.execPath, ['--enable-source-maps', outfile, ...args], { stdio: 'inherit' })
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
child.on('close', (code) => {
  process.exitCode = code ?? 1
})
