/** Reads a database URL as libpq does: https://www.postgresql.org/docs/current/libpq-connect.html */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { codeOf } from '../../core/failure.ts'
import { StartError } from '../../core/start-error.ts'
import { hostWithColon } from './driver.ts'
import { splitDatabaseUrl } from './libpq-url.ts'

type Source = {
  databaseUrl: string
  /** A file of certificates in PEM, like sslrootcert. */
  databaseCa?: string | undefined
  /** The setting with the URL, for messages. */
  setting?: string
}

const modes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full']
/** Sent to the server unchanged. */
const serverParameters = ['application_name', 'options', 'search_path']
const ownParameters = ['connect_timeout', 'ssl', 'sslmode', 'sslrootcert', 'sslcert', 'sslkey']

/**
 * Returns options for postgres.js, which by itself gives sslmode other meanings (`verify-ca` checks the name,
 * no name is checked for an IP address) and sends every parameter to the server. `unused` lists parameters
 * without a meaning here.
 * @throws StartError in one line, without the URL
 */
export function readDatabaseUrl({ databaseUrl, databaseCa, setting = 'DATABASE_URL' }: Source) {
  const { parameters, host, port, ...login } = splitDatabaseUrl(databaseUrl, setting)
  const isSocket = host.startsWith('/')
  const connectTimeout = Number(parameters.connect_timeout)
  return {
    options: {
      ...(host.includes(':') ? hostWithColon(host, port) : { host, port }),
      ...(isSocket ? { path: `${host}/.s.PGSQL.${port}` } : {}),
      ...login,
      ssl: isSocket ? (false as const) : readTls(parameters, { host, databaseCa, setting }),
      ...(connectTimeout > 0 ? { connect_timeout: connectTimeout } : {}),
      connection: Object.fromEntries([
        ['application_name', 'task-api'],
        ...Object.entries(parameters).filter(([name]) => serverParameters.includes(name)),
      ]),
    },
    unused: Object.keys(parameters).filter((name) => ![...serverParameters, ...ownParameters].includes(name)),
  }
}

type Tls = { host: string; databaseCa: string | undefined; setting: string }

function readTls(parameters: Record<string, string>, { host, databaseCa, setting }: Tls) {
  const { sslrootcert, sslcert, sslkey } = parameters
  const root = sslrootcert ?? databaseCa
  const rootName = sslrootcert === undefined ? 'DATABASE_CA' : `${setting}: sslrootcert`
  // libpq's word for the public certificate authorities, here those of Node and NODE_EXTRA_CA_CERTS.
  const isPublic = root === 'system'
  const mode = parameters.sslmode ?? (parameters.ssl === 'true' ? 'require' : root ? 'verify-full' : 'prefer')
  const refuse = (why: string) => new StartError(`${setting}: ${why}`)
  if (!modes.includes(mode))
    throw refuse(`sslmode ${JSON.stringify(mode)} is not usable; give one of ${modes.join(', ')}`)
  if (isPublic && mode !== 'verify-full')
    throw refuse(`sslrootcert=system beside sslmode=${mode} checks nothing; give sslmode=verify-full`)
  if (root && ['disable', 'allow', 'prefer'].includes(mode))
    throw new StartError(
      `${rootName}: is given, but sslmode=${mode} checks no certificate; give sslmode=verify-full`,
    )
  if (mode === 'verify-ca' && !root)
    throw refuse('sslmode=verify-ca needs a CA; give sslrootcert or DATABASE_CA, or sslmode=verify-full')
  if (mode === 'disable') return false
  // libpq's `allow` begins without TLS, which only matters to a server that offers both.
  if (mode === 'allow' || mode === 'prefer') return 'prefer' as const

  const options: ConnectionOptions = {}
  if (root && !isPublic) options.ca = readCertificates(root, rootName)
  if (sslcert) options.cert = readCertificates(sslcert, `${setting}: sslcert`)
  if (sslkey) options.key = readText(sslkey, `${setting}: sslkey`)
  if (mode === 'require' && !root) return { ...options, rejectUnauthorized: false }
  // With a CA, `require` is `verify-ca`, as in libpq.
  if (mode !== 'verify-full') return { ...options, checkServerIdentity: () => undefined }
  // For an address, postgres.js passes no name to Node, which would then check "localhost".
  return isIP(host) ? { ...options, host } : options
}

function readCertificates(path: string, name: string): string {
  const text = readText(path, name)
  try {
    new X509Certificate(text)
    return text
  } catch {
    throw new StartError(
      `${name}: ${path} holds no certificate; give a file in PEM (-----BEGIN CERTIFICATE-----)`,
    )
  }
}

function readText(path: string, name: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new StartError(
      `${name}: ${path} cannot be read (${codeOf(error)}); give a file that this user may read`,
    )
  }
}
