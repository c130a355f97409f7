/**
 * Makes by hand what a Docker engine would make of our Dockerfile: each stage is a folder, COPY and RUN are done in it. Knows the few
 * instructions that the file uses, and refuses any other.
 */
import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

export type Image = {
  /** What is `/` in it, as far as it is not the base image's. */
  directory: string
  workdir: string
  environment: Record<string, string>
  user: string | undefined
  command: string[]
  healthcheck: string[]
}

const known = /^(FROM|WORKDIR|COPY|RUN|ENV|USER|EXPOSE|HEALTHCHECK|CMD)\s+(.*)$/s

/** @param directory must be there, empty */
export async function buildImage(context: string, directory: string): Promise<Image> {
  const sent = join(directory, 'context')
  await sendContext(context, sent)
  const stages = new Map<string, Image>()
  let image: Image | undefined
  for (const instruction of await readInstructions(join(context, 'Dockerfile'))) {
    const [, name = '', rest = ''] = known.exec(instruction) ?? []
    if (name === 'FROM') {
      const [, base = '', alias = 'final'] = /^(\S+)(?: AS (\S+))?$/.exec(rest) ?? []
      if (stages.has(base)) throw new Error('a stage on top of another is not known here')
      image = await newImage(join(directory, alias))
      stages.set(alias, image)
    } else if (image) await apply(image, name, rest, { sent, stages })
    else throw new Error(`before any FROM: ${instruction}`)
  }
  if (!image) throw new Error('no image')
  return image
}

async function newImage(directory: string): Promise<Image> {
  await mkdir(directory)
  return { directory, workdir: '/', environment: {}, user: undefined, command: [], healthcheck: [] }
}

type Sources = { sent: string; stages: Map<string, Image> }

async function apply(image: Image, name: string, rest: string, { sent, stages }: Sources) {
  const inside = (path: string) =>
    join(image.directory, path.startsWith('/') ? path : join(image.workdir, path))
  if (name === 'WORKDIR') {
    image.workdir = rest
    await mkdir(inside(rest), { recursive: true })
  } else if (name === 'COPY') {
    const [first = '', ...others] = rest.split(/\s+/)
    const stage = /^--from=(.*)$/.exec(first)?.[1]
    const from = stage === undefined ? sent : stages.get(stage)?.directory
    if (from === undefined) throw new Error(`no stage ${stage}`)
    const paths = stage === undefined ? [first, ...others] : others
    const target = paths.pop() ?? ''
    for (const path of paths)
      await cp(join(from, path), target.endsWith('/') ? join(inside(target), path) : inside(target), {
        recursive: true,
        verbatimSymlinks: true,
      })
  } else if (name === 'RUN') {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME, ...image.environment }
    await promisify(execFile)('/bin/sh', ['-c', rest], { cwd: inside('.'), env, maxBuffer: 2 ** 26 })
  } else if (name === 'ENV') {
    for (const [, key = '', value = ''] of rest.matchAll(/(\w+)=(\S*)/g)) image.environment[key] = value
  } else if (name === 'USER') image.user = rest
  else if (name === 'CMD') image.command = JSON.parse(rest)
  else if (name === 'HEALTHCHECK') image.healthcheck = JSON.parse(rest.replace(/^.*?\sCMD\s+/s, ''))
  else if (name !== 'EXPOSE') throw new Error(`not known here: ${name} ${rest}`)
}

async function readInstructions(file: string): Promise<string[]> {
  const lines = (await readFile(file, 'utf8')).split('\n').filter((line) => !/^\s*(#|$)/.test(line))
  return lines
    .join('\n')
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.trim())
}

/** As `.dockerignore` lets it through: it begins with `*`, and names what is sent all the same. */
async function sendContext(context: string, sent: string) {
  const [all, ...sendable] = (await readFile(join(context, '.dockerignore'), 'utf8'))
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (all !== '*' || !sendable.every((line) => /^![\w.-]+$/.test(line)))
    throw new Error('.dockerignore has a form that is not known here')
  const present = await readdir(context)
  for (const name of sendable.map((line) => line.slice(1)))
    if (present.includes(name)) await cp(join(context, name), join(sent, name), { recursive: true })
}
