import postgres from 'postgres'
import { expect, test } from 'vitest'
import { readDatabaseUrl } from '../../src/runtime/postgres/database-url.ts'
import { formatSocketUrl } from '../../src/runtime/postgres/libpq-url.ts'

test('postgres.js reads the formatted URL, with any characters in passwords and paths', () => {
  const connection = {
    host: '/tmp/a b&c=%/d?e#f',
    port: 5433,
    database: 'tasks/ü',
    username: 'user:@',
    password: 'p@ss:/?#%&=w ö',
  }
  const { options } = readDatabaseUrl({ databaseUrl: formatSocketUrl(connection) })
  const { host, port, path, database, user, pass, connection: parameters } = postgres(options).options
  expect({ host, port, path, user, pass, database }).toEqual({
    host: [connection.host],
    port: [5433],
    path: `${connection.host}/.s.PGSQL.5433`,
    user: connection.username,
    pass: connection.password,
    database: connection.database,
  })
  expect(parameters).not.toHaveProperty('host')
})
