/** Entry of `npm run doctor`: the checks of a start, and of the services that the settings name. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Config, readConfig } from '../config/api.ts'
import { createLogger } from '../core/log.ts'
import { type CheckResult, failuresOf, runCheck } from '../runtime/doctor/check.ts'
import { askService, serviceChecks } from '../runtime/doctor/service-checks.ts'
import { formatTable, runCommand } from '../runtime/process/command.ts'
import { createStack } from '../runtime/process/shutdown.ts'
import { startChecks } from '../runtime/start-checks.ts'

const help = `Runs the checks of a start, and asks the database, store, notifier and mail server, whether the service
runs or not. Changes nothing but a key in the store that expires after a second, and sends nothing. Run it as
the service's user, with its environment. If a setting is unusable, only settings are checked. The exit code is
1 when a check failed.

  npm run doctor              a line for each result
  npm run doctor -- --json    the same as JSON
  npm run doctor -- --help    this text
`

async function run(json: boolean, env: NodeJS.ProcessEnv) {
  const findings = await runChecks(env)
  const count = (status: CheckResult['status']) =>
    findings.filter((result) => result.status === status).length
  const summary = { ok: count('ok'), warnings: count('warning'), failed: count('failed') }
  if (json) console.log(JSON.stringify({ ...summary, findings }, null, 2))
  else {
    console.log(formatResults(findings))
    console.log(`\n${summary.ok} ok, ${summary.warnings} warnings, ${summary.failed} failed`)
  }
  if (summary.failed > 0) process.exitCode = 1
}

async function runChecks(env: NodeJS.ProcessEnv): Promise<CheckResult[]> {
  let config: Config
  try {
    config = readConfig(env)
  } catch (error) {
    return failuresOf('settings', error)
  }
  const log = createLogger('silent')
  const stack = createStack(log)
  const running = await askService(config)
  const context = {
    config,
    dataDirectory: resolve(config.dataDirectory),
    packageRoot: fileURLToPath(new URL('..', import.meta.url)),
    env,
    log,
    stack,
    running,
  }
  // The ports of a running service are taken, by itself.
  const checks = [...startChecks.filter(({ name }) => !running || name !== 'ports'), ...serviceChecks]
  const results = await Promise.all(checks.map((check) => runCheck(check, context)))
  await stack.unwind()
  return [{ name: 'settings', status: 'ok', detail: 'usable' }, ...results.flat()]
}

function formatResults(results: CheckResult[]): string {
  const rows = results.flatMap(({ name, status, detail, advice }) => [
    [status, name, detail],
    ...(advice === undefined ? [] : [['', '', `-> ${advice}`]]),
  ])
  return formatTable(rows)
}

runCommand({
  name: 'doctor',
  help,
  options: { json: { type: 'boolean' } },
  run: ({ json = false }, _, env) => run(json, env),
})
