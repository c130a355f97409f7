/**
 * Settings of a server, a database or a role that change what statements do. Most others do not matter: times
 * travel as numbers, and a transaction sets its own isolation.
 */
import type { Sql } from 'postgres'

/** Major version. */
export const oldestPostgres = 15

type SettingFault = {
  name: string
  /** With its consequence. */
  detail: string
  /** `refused` when no answer would be right until the setting is changed. */
  weight: 'refused' | 'read only' | 'doubtful'
}

type Settings = Record<string, string>

/** @param statementMs the time-out of a statement, which a setting may cut short */
export async function findSettingFaults(sql: Sql, { statementMs }: { statementMs: number }) {
  const rows = await sql.unsafe<{ name: string; value: string }[]>(`
    select name, current_setting(name) as value from unnest(array[
      'session_replication_role', 'exit_on_error', 'client_min_messages', 'synchronous_standby_names',
      'default_transaction_read_only', 'transaction_read_only', 'in_hot_standby', 'synchronous_commit',
      'default_transaction_isolation', 'statement_timeout'
    ]) as name
    union all
    select 'statement_ms',
      (extract(epoch from current_setting('statement_timeout')::interval) * 1000)::bigint::text`)
  return faultsOf(Object.fromEntries(rows.map(({ name, value }) => [name, value])), statementMs)
}

function faultsOf(settings: Settings, statementMs: number): SettingFault[] {
  const fault = (weight: SettingFault['weight'], name: string, consequence: string): SettingFault => ({
    name,
    detail: `${name} is ${settings[name]}: ${consequence}`,
    weight,
  })
  const faults: SettingFault[] = []
  if (settings.session_replication_role === 'replica')
    faults.push(fault('refused', 'session_replication_role', 'no trigger and no foreign key holds'))
  if (settings.exit_on_error === 'on')
    faults.push(fault('refused', 'exit_on_error', 'every refused statement ends its connection'))
  // A warning tells of a commit that no standby has confirmed.
  if (settings.client_min_messages === 'error' && settings.synchronous_standby_names)
    faults.push(fault('refused', 'client_min_messages', 'it hides that a standby has not confirmed a commit'))
  if (settings.in_hot_standby === 'on')
    faults.push(fault('read only', 'in_hot_standby', 'it is a standby, and every write fails'))
  else if (settings.transaction_read_only === 'on')
    faults.push(fault('read only', 'default_transaction_read_only', 'every write fails'))
  if (settings.synchronous_commit === 'off')
    faults.push(fault('doubtful', 'synchronous_commit', 'a crash loses the last writes it has acknowledged'))
  if (settings.default_transaction_isolation !== 'read committed')
    faults.push(
      fault('doubtful', 'default_transaction_isolation', 'concurrent writes are run twice, and are slow'),
    )
  const limit = Number(settings.statement_ms)
  if (limit > 0 && limit < statementMs)
    faults.push(fault('doubtful', 'statement_timeout', 'what takes longer is answered 503'))
  return faults
}
