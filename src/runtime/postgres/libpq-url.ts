/**
 * Database URLs as libpq reads them, unlike URLs of the web: a host may be the directory of a socket,
 * parameters may give every part and take precedence, and a plus is a plus.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
import { StartError } from '../../core/start-error.ts'

type Parts = { host: string; port: number; database: string; username: string; password: string }

/** The URL for a unix socket; `host` is its directory. */
export function formatSocketUrl({ host, port, database, username, password }: Parts): string {
  const [user, secret, name, directory] = [username, password, database, host].map(encodeURIComponent)
  return `postgres://${user}:${secret}@localhost:${port}/${name}?host=${directory}`
}

const form = new RegExp(
  [
    /^postgres(?:ql)?:\/\/(?:(?<userinfo>[^/?]*)@)?/,
    /(?<host>\[[^\]/?@]*\]|[^:/?@[\]]*)(?::(?<port>[^/?@[\]]*))?/,
    /(?:\/(?<database>[^?]*))?(?:\?(?<query>.*))?$/,
  ]
    .map(({ source }) => source)
    .join(''),
  'is',
)
const example = 'postgres://user:password@host:5432/database'
const socketExample = 'postgres://user:password@localhost/database?host=/its/directory'
/** The limit on Linux: 107 bytes less the socket's own name. */
const socketDirectoryBytes = 107 - '/.s.PGSQL.65535'.length

/** `parameters` are those that name no part. @throws StartError in one line, without the URL */
export function splitDatabaseUrl(text: string, setting: string) {
  const wrong = () => new StartError(`${setting} must look like ${example}, or for a socket ${socketExample}`)
  const parts = form.exec(text.trim())?.groups
  if (!parts) throw wrong()
  const { userinfo = '', host = '', port = '', database = '', query = '' } = parts
  if (port.includes(',')) throw new StartError(`${setting}: ${several}`)
  try {
    const [username = '', ...password] = userinfo.split(':')
    const given = Object.fromEntries(query.split('&').filter(Boolean).map(readParameter))
    const { host: directory, hostaddr, port: ownPort, dbname, user, password: secret, ...parameters } = given
    const named = directory || decodeURIComponent(host).replace(/^\[(.*)\]$/, '$1') || hostaddr || ''
    return {
      host: checkHost(named, setting),
      port: readPort(ownPort || port || '5432'),
      database: dbname || decodeURIComponent(database),
      username: user || decodeURIComponent(username),
      password: secret || decodeURIComponent(password.join(':')),
      parameters,
    }
  } catch (error) {
    // The cause would show the password.
    throw error instanceof URIError ? wrong() : error
  }
}

function readPort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port >= 1 && port <= 65_535) return port
  throw new URIError('no port')
}

function readParameter(text: string): [string, string] {
  const [name = '', ...value] = text.split('=')
  return [decodeURIComponent(name), decodeURIComponent(value.join('='))]
}

const several = "names several hosts; give one, such as the cluster's endpoint, that leads to the writer"

function checkHost(host: string, setting: string): string {
  const refuse = (why: string) => new StartError(`${setting}: ${why}`)
  if (host === '')
    throw refuse('names no host; give localhost, or ?host=/var/run/postgresql for the socket there')
  if (host.includes(',')) throw refuse(several)
  if (host.startsWith('@'))
    throw refuse('names an abstract socket; give the directory of one, as ?host=/its/directory')
  if (host.startsWith('/') && Buffer.byteLength(host) > socketDirectoryBytes)
    throw refuse(`its socket's directory is longer than ${socketDirectoryBytes} bytes; give a shorter one`)
  return host
}
