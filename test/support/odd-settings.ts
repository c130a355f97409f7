/** Unusual settings of a database and its roles, with which the service must work. */
import type { PostgresCluster } from './postgres-cluster.ts'

const ofDatabase: Record<string, string> = {
  datestyle: 'SQL, DMY',
  intervalstyle: 'sql_standard',
  timezone: 'Pacific/Chatham',
  timezone_abbreviations: 'Australia',
  // Needs the locale, which .ci/run makes.
  lc_messages: 'de_DE.UTF-8',
  standard_conforming_strings: 'off',
  escape_string_warning: 'on',
  bytea_output: 'escape',
  extra_float_digits: '-15',
  array_nulls: 'off',
  transform_null_equals: 'on',
  quote_all_identifiers: 'on',
  row_security: 'off',
  xmloption: 'document',
  client_encoding: 'LATIN1',
  client_min_messages: 'debug1',
  default_text_search_config: 'simple',
  enable_seqscan: 'off',
  work_mem: '64kB',
}
const ofRoles: Record<string, string> = {
  default_transaction_isolation: 'serializable',
  default_transaction_deferrable: 'on',
  lock_timeout: '20ms',
  idle_in_transaction_session_timeout: '200ms',
  idle_session_timeout: '1min',
  synchronous_commit: 'off',
}

export async function setOddly({ query }: Pick<PostgresCluster, 'query'>, database: string) {
  for (const [name, value] of Object.entries(ofDatabase))
    await query(`alter database ${database} set ${name} = '${value}'`)
  await query(`alter database ${database} set search_path = "no such schema", public, pg_catalog`)
  for (const role of ['tasks', 'tasks_app'])
    for (const [name, value] of Object.entries(ofRoles))
      await query(`alter role ${role} in database ${database} set ${name} = '${value}'`)
}
