/** Entry of `npm run outbox`: shows, requeues and drops events of the outbox. */
import { StartError } from '../core/start-error.ts'
import * as outbox from '../outbox/administration.ts'
import { withDatabase } from '../runtime/postgres/operator-database.ts'
import { formatTable, runCommand, UsageError } from '../runtime/process/command.ts'

const help = `Manages the events that the notifier has not handled yet.

  npm run outbox -- status                 count them, and list the failures
  npm run outbox -- requeue [--id ID]      deliver dead letters and failed events now: all, or one
  npm run outbox -- drop --all-dead --yes  remove all dead letters; without --yes only count them
  npm run outbox -- drop --id ID --yes     remove one event, dead or not
  npm run outbox -- --help                 this text

  --json    print JSON; drop prints the whole events, since no other copy is left

The database is DATABASE_URL, or without it the one that a running npm start keeps under DATA_DIR (./data). A running service
delivers requeued events within 5 seconds.
`

/** Failures that status lists. */
const listLimit = 50

type Values = { id?: string; 'all-dead'?: boolean; yes?: boolean; json?: boolean }

const optionsOf = { status: ['json'], requeue: ['id', 'json'], drop: ['id', 'all-dead', 'yes', 'json'] }

async function run(values: Values, [command = '']: string[], env: NodeJS.ProcessEnv) {
  if (!isCommand(command))
    throw new UsageError(command ? `unknown argument "${command}"` : 'give status, requeue or drop')
  const { id } = values
  const unused = Object.keys(values).find((name) => !optionsOf[command].includes(name))
  if (unused) throw new UsageError(`${command} takes no --${unused}`)
  if (command === 'drop' && (id === undefined) !== (values['all-dead'] ?? false))
    throw new UsageError('give either --id ID or --all-dead')
  if (id !== undefined && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id))
    throw new UsageError(`--id ${id}: give the id of an event, as status shows it`)
  await withDatabase(env, (db) => ({ status, requeue, drop })[command](db, values))
}

const isCommand = (text: string): text is keyof typeof optionsOf => Object.hasOwn(optionsOf, text)

type Db = Parameters<typeof outbox.summarizeOutbox>[0]

async function status(db: Db, { json }: Values) {
  const summary = await outbox.summarizeOutbox(db)
  const events = await outbox.listFailures(db, listLimit)
  if (json) return console.log(JSON.stringify({ ...summary, events }, null, 2))
  const { waiting, due, failing, dead, oldest_age_seconds: age } = summary
  console.log(`waiting ${waiting}${age === null ? '' : `, the oldest for ${formatSeconds(age)}`}`)
  console.log(`  of them due now ${due}, failed before ${failing}`)
  console.log(`dead    ${dead}${dead > 0 ? ': npm run outbox -- requeue tries them again' : ''}`)
  if (events.length === 0) return
  const rows = events.map((event) => [
    event.id,
    event.type,
    event.subject,
    event.dead_at ? 'dead' : 'waiting',
    String(event.attempts),
    event.created_at,
    event.last_error ?? '',
  ])
  console.log(
    `\n${formatTable([['id', 'type', 'subject', 'state', 'attempts', 'since', 'last error'], ...rows])}`,
  )
  const more = failing + dead - events.length
  if (more > 0) console.log(`and ${more} more`)
}

async function requeue(db: Db, { id, json }: Values) {
  const requeued = await outbox.requeueEvents(db, id ?? null)
  const dead = requeued.filter(({ was_dead }) => was_dead).length
  if (requeued.length === 0 && id !== undefined && !(await outbox.isWaiting(db, id)))
    throw new StartError(`--id ${id}: there is no such event; it may have been delivered`)
  if (json) console.log(JSON.stringify({ requeued: requeued.map((event) => event.id) }))
  else console.log(`requeued ${dead} dead, pulled forward ${requeued.length - dead} waiting`)
}

async function drop(db: Db, { id, yes, json }: Values) {
  if (!yes) {
    const count = await outbox.countDroppable(db, id ?? null)
    throw new StartError(`this would drop ${count} undelivered events for good: add --yes to do it`)
  }
  const dropped = await outbox.dropEvents(db, id ?? null)
  if (dropped.length === 0 && id !== undefined) throw new StartError(`--id ${id}: there is no such event`)
  if (json) return console.log(JSON.stringify({ dropped }, null, 2))
  for (const event of dropped)
    console.log(`dropped ${event.id}: ${event.type} ${event.subject}, since ${event.created_at}`)
  console.log(`dropped ${dropped.length}`)
}

function formatSeconds(seconds: number) {
  if (seconds < 120) return `${Math.round(seconds)} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}

runCommand({
  name: 'outbox',
  help,
  options: {
    id: { type: 'string' },
    'all-dead': { type: 'boolean' },
    yes: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  positionals: 1,
  run,
})
