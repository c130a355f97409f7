/** What the program stands on here: Node, bcrypt's binary, the data directory, its port. */
import { constants } from 'node:fs'
import { access, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { hasCode } from '../embedded-postgres/owner.ts'
import { tryPort } from '../http/listen.ts'
import { loadNativeBcrypt } from '../passwords/native-bcrypt.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'

const oldestNode = [20, 19] as const
const tried = [20, 22, 24]
/** Free space in bytes under which something is said. */
const scarce = { warning: 2 ** 30, failed: 100 * 2 ** 20 }

export async function checkNode(): Promise<Finding[]> {
  const version = process.versions.node
  const [major = 0, minor = 0] = version.split('.').map(Number)
  const tooOld = major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])
  const node = tooOld
    ? failed('node', version, `install Node ${oldestNode.join('.')} or newer`)
    : tried.includes(major)
      ? ok('node', version)
      : warning('node', `${version}, which was not tried`, `prefer one of ${tried.join(', ')}`)
  const bcrypt = await loadNativeBcrypt().then(
    () => ok('bcrypt', 'native'),
    (error: Error) =>
      warning(
        'bcrypt',
        `its binary does not load: ${error.message.split('\n')[0]}; passwords are hashed in JavaScript, more slowly`,
        'npm ci, without leaving out optional packages',
      ),
  )
  return [node, bcrypt]
}

export async function checkDataDirectory({ config, dataDirectory }: Patient): Promise<Finding[]> {
  if (config.databaseUrl && config.jwtSecrets && config.notifier.endpoint)
    return [ok('data directory', 'none is needed: everything is kept elsewhere')]
  const name = 'data directory'
  const found = await stat(dataDirectory).catch((error: unknown) => {
    if (hasCode(error, 'ENOENT')) return undefined
    throw error
  })
  const another = 'give another DATA_DIR, or start as the user whom it belongs to'
  if (!found) {
    const parent = await nearest(dirname(dataDirectory))
    if (!(await isWritable(parent)))
      return [failed(name, `${dataDirectory} cannot be made in ${parent}`, another)]
    return [ok(name, `${dataDirectory} is made by the first start`), await checkSpace(parent)]
  }
  if (!found.isDirectory())
    return [failed(name, `${dataDirectory} is not a directory`, 'give another DATA_DIR')]
  if (!(await isWritable(dataDirectory)))
    return [failed(name, `${dataDirectory} may not be written to by this user`, another)]
  const mode = (found.mode & 0o777).toString(8)
  const described = `${dataDirectory}, owner ${found.uid}, mode ${mode}`
  // Root's server runs as another user, who passes through.
  const open = (found.mode & 0o022) !== 0 ? 'written to' : (found.mode & 0o044) !== 0 ? 'listed' : undefined
  const finding =
    open === 'written to'
      ? failed(name, `${described}: it can be written to by other users`, `chmod go-w ${dataDirectory}`)
      : open
        ? warning(name, `${described}: it can be listed by other users`, `chmod go-r ${dataDirectory}`)
        : ok(name, described)
  return [finding, await checkSpace(dataDirectory)]
}

async function checkSpace(path: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(path)
  const free = bavail * bsize
  const described = `${(free / 2 ** 30).toFixed(1)} GiB free at ${path}`
  const advice = 'make room, or move DATA_DIR to a larger disk'
  if (free < scarce.failed) return failed('disk', described, advice)
  return free < scarce.warning ? warning('disk', described, advice) : ok('disk', described)
}

/** The path itself, or the directory above it that exists. */
export async function nearest(path: string): Promise<string> {
  try {
    await stat(path)
    return path
  } catch {
    return path === dirname(path) ? path : nearest(dirname(path))
  }
}

export const isWritable = (path: string) =>
  access(path, constants.W_OK | constants.X_OK).then(
    () => true,
    () => false,
  )

/** Of a running service its own word for how it is; else whether one could listen. */
export async function checkPort({ config: { host, port } }: Patient): Promise<Finding[]> {
  if (port === 0) return [ok('port', 'the system chooses one')]
  const url = `${originOf(host, port)}/readyz`
  const answer = await fetch(url, { signal: AbortSignal.timeout(5000), redirect: 'manual' }).then(
    async (response) => readiness(await response.text(), url),
    () => undefined,
  )
  if (answer) return [answer]
  return [await checkFree('port', { host, port, names: { host: 'HOST', port: 'PORT' } })]
}

export async function checkMetrics({ config: { metrics } }: Patient): Promise<Finding[]> {
  if (!metrics || metrics.port === 0) return []
  const { host, port } = metrics
  const url = `${originOf(host, port)}/metrics`
  const isOurs = await fetch(url, { signal: AbortSignal.timeout(5000), redirect: 'manual' }).then(
    async (response) => /^# (HELP|TYPE) /m.test(await response.text()),
    () => false,
  )
  const names = { host: 'METRICS_HOST', port: 'METRICS_PORT' }
  if (!isOurs) return [await checkFree('metrics', { host, port, names })]
  if (isHere(host)) return [ok('metrics', `are at ${url}`)]
  const advice = 'let nobody reach it but Prometheus, or leave METRICS_HOST on loopback'
  return [warning('metrics', `are at ${url}, for whoever reaches this machine`, advice)]
}

const originOf = (host: string, port: number) => {
  const at = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
  return `http://${at.includes(':') ? `[${at}]` : at}:${port}`
}

type Address = { host: string; port: number; names: { host: string; port: string } }

async function checkFree(name: string, { host, port, names }: Address): Promise<Finding> {
  const code = await tryPort(host, port)
  if (code === undefined)
    return ok(name, `${port} on ${host} is free${isHere(host) ? '' : ', for whoever reaches this machine'}`)
  const advice: Record<string, [string, string]> = {
    EADDRINUSE: [
      `${port} on ${host} is taken by another program`,
      `stop that one, or give another ${names.port}`,
    ],
    EACCES: [`${port} may not be used by this user`, `give a ${names.port} from 1024 on`],
  }
  const [detail, what] = advice[code] ?? [
    `cannot listen on ${host} (${code})`,
    `give as ${names.host} an address of this machine, such as 127.0.0.1`,
  ]
  return failed(name, detail, what)
}

function readiness(body: string, url: string): Finding | undefined {
  const { status, degraded, unavailable } = parse(body)
  const named = (list: unknown) => (Array.isArray(list) ? list.join(', ') : '')
  if (status === 'ready') return ok('port', `a service answers at ${url}: ready`)
  if (status === 'degraded')
    return warning(
      'port',
      `a service answers at ${url}: without ${named(degraded)}`,
      'see what is found of that here',
    )
  if (status === 'unavailable')
    return failed(
      'port',
      `a service answers at ${url}: it lacks ${named(unavailable)}`,
      'see what is found of that here',
    )
  return undefined
}

function parse(text: string): Record<string, unknown> {
  try {
    return { ...(JSON.parse(text) as object) }
  } catch {
    return {}
  }
}
