/**
 * Splits a database URL as libpq does, which differs from URLs of the web: a host may be the directory of a
 * socket, parameters may give every part and take precedence, and a plus is a plus.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
 */
import { StartError } from '../../core/start-error.ts'

export type DatabaseUrl = {
  host: string
  port: number
  database: string
  username: string
  password: string
  /** All others, by name. */
  parameters: Record<string, string>
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

/** @throws StartError in one line, without the URL */
export function splitDatabaseUrl(text: string, setting: string): DatabaseUrl {
  const wrong = () => new StartError(`${setting} must look like ${example}, or for a socket ${socketExample}`)
  const parts = form.exec(text.trim())?.groups
  if (!parts) throw wrong()
  const { userinfo = '', host = '', port = '', database = '', query = '' } = parts
  if (port.includes(',')) throw severalHosts(setting)
  try {
    const [username = '', ...password] = userinfo.split(':')
    const parameters = Object.fromEntries(query.split('&').filter(Boolean).map(readParameter))
    const {
      host: directory,
      hostaddr,
      port: parameterPort,
      dbname,
      user,
      password: secret,
      ...rest
    } = parameters
    return {
      host: checkHost(
        directory || decodeURIComponent(host).replace(/^\[(.*)\]$/, '$1') || hostaddr || '',
        setting,
      ),
      port: readPort(parameterPort || port || '5432'),
      database: dbname || decodeURIComponent(database),
      username: user || decodeURIComponent(username),
      password: secret || decodeURIComponent(password.join(':')),
      parameters: rest,
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

const severalHosts = (setting: string) =>
  new StartError(
    `${setting}: names several hosts; give one, such as the cluster's endpoint, that leads to the writer`,
  )

function checkHost(host: string, setting: string): string {
  if (host === '')
    throw new StartError(
      `${setting}: names no host; give localhost, or ?host=/var/run/postgresql for the socket there`,
    )
  if (host.includes(',')) throw severalHosts(setting)
  if (host.startsWith('@'))
    throw new StartError(
      `${setting}: names an abstract socket; give the directory of one, as ?host=/its/directory`,
    )
  if (host.startsWith('/') && Buffer.byteLength(host) > socketDirectoryBytes)
    throw new StartError(
      `${setting}: its socket's directory is longer than ${socketDirectoryBytes} bytes; give a shorter one`,
    )
  return host
}
