/**
 * Database URLs of servers behind a unix socket, in the form that libpq takes too: the socket's directory as
 * the parameter `host`, which counts more than the host before the path.
 * https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
 */

type Connection = { host: string; port: number; database: string; username: string; password: string }

/** `host` is a directory. */
export function formatSocketUrl({ host, port, database, username, password }: Connection): string {
  const [user, secret, name, directory] = [username, password, database, host].map(encodeURIComponent)
  return `postgres://${user}:${secret}@localhost:${port}/${name}?host=${directory}`
}
