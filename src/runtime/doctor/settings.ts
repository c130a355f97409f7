/** The settings by themselves: those that are not usable, those that are nobody's, secrets. */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Config, readConfig, settingNames } from '../../config/api.ts'
import { StartError } from '../../core/start-error.ts'
import { hasCode } from '../embedded-postgres/owner.ts'
import { type Finding, failed, isHere, ok, type Patient, warning } from './finding.ts'

/** Of the notifier alone, or between our own processes. */
const others = ['NOTIFIER_HOST', 'NOTIFIER_PARENT_PIPE']
const ours =
  /^(DATABASE|JWT|SESSION|ACCESS_TOKEN|RATE_LIMIT|TRUSTED_PROXY|NOTIFIER|NOTIFY|UPSTASH_REDIS|METRICS|BCRYPT|CORS)_/

/** `config` is made of the usable settings; undefined when they do not go together. `bad` names the others. */
export function readSettingsKindly(env: NodeJS.ProcessEnv): {
  config: Config | undefined
  bad: Set<string>
  findings: Finding[]
} {
  const rest = { ...env }
  const bad = new Set<string>()
  const findings: Finding[] = []
  for (;;) {
    try {
      const config = readConfig(rest)
      return { config, bad, findings: [...findings, ...describeSettings(env, findings.length)] }
    } catch (error) {
      if (!(error instanceof StartError)) throw error
      const before = bad.size
      for (const line of error.message.split('\n')) {
        const [, names = '', wrong = '', right = ''] = /^([A-Z_, ]+): (.*?)(?:; (.*))?$/.exec(line) ?? []
        findings.push(failed(names || 'settings', wrong || line, right || 'see the settings in README.md'))
        for (const name of names.split(', ').filter(Boolean)) {
          bad.add(name)
          delete rest[name]
        }
      }
      if (bad.size === before) return { config: undefined, bad, findings }
    }
  }
}

function describeSettings(env: NodeJS.ProcessEnv, wrong: number): Finding[] {
  const known = new Set([...settingNames, ...others])
  const set = settingNames.filter((name) => env[name])
  const strange = Object.keys(env).filter((name) => ours.test(name) && !known.has(name))
  return [
    ...(wrong === 0
      ? [ok('settings', set.length === 0 ? 'none: all defaults' : `usable: ${set.join(', ')}`)]
      : []),
    ...strange.map((name) =>
      warning(name, 'is no setting', 'see .env.example for how it is spelled, or remove it'),
    ),
  ]
}

export async function checkSecrets({ config, dataDirectory }: Patient): Promise<Finding[]> {
  const { jwtSecrets, databaseUrl, host, bcryptCost } = config
  const making = 'openssl rand -base64 48 makes one'
  const findings: Finding[] = []
  if (jwtSecrets) {
    // The shortest that may be is 32 bytes; of so many random ones hardly any is there twice.
    const dull = jwtSecrets.filter((secret) => new Set(secret).size < 10)
    const lengths = jwtSecrets.map((secret) => Buffer.byteLength(secret)).join(', ')
    findings.push(
      dull.length > 0
        ? warning('JWT_SECRET', 'has few different characters, so that it may be guessed', making)
        : ok('JWT_SECRET', `${jwtSecrets.length} of ${lengths} bytes`),
    )
  } else if (databaseUrl || !isHere(host)) {
    const reason = databaseUrl ? 'DATABASE_URL is set' : `HOST is ${host}`
    findings.push(
      failed('JWT_SECRET', `missing, and ${reason}`, `give a secret of at least 32 bytes; ${making}`),
    )
  } else findings.push(await checkKept(dataDirectory, 'jwt-secret', 32))
  if (!config.notifier.endpoint) findings.push(await checkKept(dataDirectory, 'notifier-credentials', 1))
  if (!databaseUrl) findings.push(await checkKept(dataDirectory, 'postgres-password', 1))
  if (bcryptCost < 10)
    findings.push(
      warning(
        'BCRYPT_COST',
        `${bcryptCost}: stolen hashes would be cracked fast`,
        'give 10 or more; log-ins renew hashes',
      ),
    )
  return findings
}

/** A secret that the program makes itself. */
async function checkKept(dataDirectory: string, name: string, bytes: number): Promise<Finding> {
  const path = join(dataDirectory, name)
  try {
    const { mode } = await stat(path)
    if ((mode & 0o077) !== 0)
      return failed(
        name,
        `${path} is open to other users`,
        `chmod 600 ${path}, and think of it as known to them`,
      )
    if ((await readFile(path, 'utf8')).trim().length < bytes)
      return failed(name, `${path} is damaged`, 'remove it to have another made')
    return ok(name, `kept in ${path}`)
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ENOTDIR')) return ok(name, 'made by the first start')
    if (hasCode(error, 'EACCES'))
      return failed(name, `${path} cannot be read`, 'run this as the user of the service')
    throw error
  }
}
