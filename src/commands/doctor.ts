/** Entry of `npm run doctor`: looks at every setting and at all that the service depends on, and says what to do. */
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { verifySmtp } from '../../workers/notifier/email.ts'
import { NotificationSettings } from '../config/notifications.ts'
import { checkDatabase } from '../runtime/doctor/database.ts'
import { type Check, type Finding, runCheck } from '../runtime/doctor/finding.ts'
import { checkDataDirectory, checkMetrics, checkNode, checkPort } from '../runtime/doctor/machine.ts'
import { checkChannels, checkNotifier, checkQueue } from '../runtime/doctor/notifier.ts'
import { checkSecrets, readSettingsKindly } from '../runtime/doctor/settings.ts'
import { checkStore } from '../runtime/doctor/store.ts'
import { formatTable, readArguments, runCommand, wrongUsage } from '../runtime/process/command.ts'

const help = `Checks the settings in the environment and all that they name, and says what to do. Changes nothing, sends no notification, and
works whether the service runs or not. Run it as the service's user, with its environment. Exit code 1 when something failed.

  npm run doctor              what was found, a line each
  npm run doctor -- --json    the same as JSON
  npm run doctor -- --help    this text
`

const checks: Check[] = [
  { name: 'node', needs: [], run: checkNode },
  { name: 'secrets', needs: ['JWT_SECRET', 'DATABASE_URL', 'HOST', 'BCRYPT_COST'], run: checkSecrets },
  { name: 'data directory', needs: ['DATA_DIR', 'DATABASE_URL', 'JWT_SECRET'], run: checkDataDirectory },
  { name: 'database', needs: ['DATABASE_URL', 'DATABASE_CA'], run: checkDatabase },
  {
    name: 'store',
    needs: ['REDIS_URL', 'UPSTASH_REDIS_REST_URL', 'UPSTASH_REDIS_REST_TOKEN'],
    run: checkStore,
  },
  {
    name: 'notifier',
    needs: ['NOTIFIER_ENDPOINT', 'NOTIFIER_PORT', 'NOTIFIER_FUNCTION', 'AWS_REGION', 'AWS_ACCESS_KEY_ID'],
    run: checkNotifier,
  },
  {
    name: 'channels',
    needs: Object.keys(NotificationSettings),
    run: checkChannels(verifySmtp),
  },
  {
    name: 'queue',
    needs: ['NOTIFIER_DATABASE_URL', 'NOTIFIER_ON_FAILURE'],
    run: checkQueue,
  },
  { name: 'metrics', needs: ['METRICS_HOST', 'METRICS_PORT'], run: checkMetrics },
  { name: 'port', needs: ['HOST', 'PORT'], run: checkPort },
]

async function run(args: string[], env: NodeJS.ProcessEnv) {
  const { values, positionals } = readArguments('doctor', args, {
    json: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  })
  if (values.help) return console.log(help)
  if (positionals[0] !== undefined) throw wrongUsage('doctor', `unknown argument "${positionals[0]}"`)
  const findings = await examine(env)
  const count = (status: Finding['status']) => findings.filter((finding) => finding.status === status).length
  const summary = { ok: count('ok'), warnings: count('warning'), failed: count('failed') }
  if (values.json) console.log(JSON.stringify({ ...summary, findings }, null, 2))
  else {
    console.log(formatFindings(findings))
    console.log(`\n${summary.ok} ok, ${summary.warnings} warnings, ${summary.failed} failed`)
  }
  if (summary.failed > 0) process.exitCode = 1
}

async function examine(env: NodeJS.ProcessEnv): Promise<Finding[]> {
  const { config, bad, findings } = readSettingsKindly(env)
  if (!config) return findings
  const patient = {
    config,
    dataDirectory: resolve(config.dataDirectory),
    packageRoot: fileURLToPath(new URL('..', import.meta.url)),
    env,
  }
  const possible = checks.filter(({ needs }) => !needs.some((name) => bad.has(name)))
  const found = await Promise.all(possible.map((check) => runCheck(check, patient)))
  return [...findings, ...found.flat()]
}

function formatFindings(findings: Finding[]): string {
  const rows = findings.flatMap(({ name, status, detail, advice }) => [
    [status, name, detail],
    ...(advice === undefined ? [] : [['', '', `-> ${advice}`]]),
  ])
  return formatTable(rows)
}

runCommand(run)
