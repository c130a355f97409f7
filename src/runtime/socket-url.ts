/**
 * Database URLs of servers behind a unix socket, in the form that libpq takes too: the socket's directory as the parameter
 * `host`, which counts more than the host before the path. https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING
 */

type Connection = { host: string; port: number; database: string; username: string; password: string }

/** `host` is a directory. */
export function formatSocketUrl({ host, port, database, username, password }: Connection): string {
  const [user, secret, name, directory] = [username, password, database, host].map(encodeURIComponent)
  return `postgres://${user}:${secret}@localhost:${port}/${name}?host=${directory}`
}

/** What to give postgres.js, which takes the directory as an option only: `postgres(url, { ...options })`. */
export function readSocketUrl(text: string): { url: string; options: { host?: string } } {
  const url = new URL(text)
  const host = url.searchParams.get('host')
  if (host === null) return { url: text, options: {} }
  url.searchParams.delete('host')
  return { url: url.href, options: { host } }
}
