/** Profiles a target while it is measured, and writes profile, flame graph and layers to a folder. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { root } from '../../test/support/directories.ts'
import { drawFlameGraph, layersTable, type Profile, readProfile } from './flame-graph.ts'
import type { Measurement } from './measure.ts'
import { targets } from './targets.ts'

export function createProfiling(folder: string) {
  mkdirSync(folder, { recursive: true })
  const file = resolve(folder, 'latest.cpuprofile')
  const profiler = pathToFileURL(join(root, 'bench/comparison/profiler.mjs'))
  const readLatest = () => {
    try {
      return JSON.parse(readFileSync(file, 'utf8')) as Profile
    } catch {
      return undefined
    }
  }
  return {
    options: { nodeOptions: `--import=${profiler}`, environment: { PROFILE_FILE: file } },
    around: (pid: number) => ({
      async before() {
        rmSync(file, { force: true })
        process.kill(pid, 'SIGUSR2')
        await sleep(200)
      },
      async after() {
        process.kill(pid, 'SIGUSR2')
        const deadline = Date.now() + 30_000
        while (!(existsSync(file) && readLatest())) {
          if (Date.now() > deadline) throw new Error('the target wrote no profile')
          await sleep(100)
        }
      },
    }),
    report({ target, scenario, cpu }: Measurement) {
      const profile = readLatest()
      if (!profile) throw new Error('there is no profile')
      const { top, layers } = readProfile(profile)
      const title = `${targets[target]?.title}, ${scenario}`
      const name = join(folder, `${target}-${scenario}`)
      const table = layersTable(layers, cpu)
      writeFileSync(`${name}.cpuprofile`, JSON.stringify(profile))
      writeFileSync(`${name}.svg`, drawFlameGraph(top, title))
      writeFileSync(`${name}.md`, `${title}\n\n${table}\n`)
      rmSync(file)
      console.log(`\n${title}: ${name}.svg\n\n${table}\n`)
    },
  }
}
