/**
 * Database URLs for a unix socket, in a form that libpq takes too: the parameter `host` is the socket's
 * directory, and takes precedence over the host before the path.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
 */

type Connection = { host: string; port: number; database: string; username: string; password: string }

/** `host` is a directory. */
export function formatSocketUrl({ host, port, database, username, password }: Connection): string {
  const [user, secret, name, directory] = [username, password, database, host].map(encodeURIComponent)
  return `postgres://${user}:${secret}@localhost:${port}/${name}?host=${directory}`
}
