/** Entry of `npm run notifier`: shows invocations, channels and dead letters; redrives or drops those. */
import { oneLine, printable } from '../../src/core/plain-text.ts'
import { describeFetchError } from '../../src/core/post-json.ts'
import { StartError } from '../../src/core/start-error.ts'
import { runCommand, UsageError } from '../../src/runtime/process/command.ts'
import type { RecentInvocation } from '../lambda/execution.ts'
import { inspect } from '../lambda/inspection-client.ts'
import type { DeadLetter } from '../lambda/queued-events.ts'
import { findNotifier, unreachable } from './caller.ts'
import type { ChannelState } from './gate.ts'

const help = `Inspects the running notifier.

  npm run notifier -- invocations     the last 100 invocations since its start, the newest first
  npm run notifier -- channels        the channels, and which of them are throttled or stopped
  npm run notifier -- events          the number of waiting Events, and the dead letters
  npm run notifier -- redrive ID      puts a dead letter back into the queue, by its request id
  npm run notifier -- redrive --all   puts back all of them
  npm run notifier -- drop ID         deletes a dead letter
  npm run notifier -- drop --all      deletes all of them
  npm run notifier -- --help          this text

  --logs    with invocations: also the output of each
  --json    the answer as JSON

The notifier is NOTIFIER_ENDPOINT, or the one that npm start runs on NOTIFIER_PORT (3001). The keys are AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, or those that npm start keeps in DATA_DIR (./data).
`

type Values = { all?: boolean; logs?: boolean; json?: boolean }
type Send = (method: 'GET' | 'POST', path: string) => Promise<unknown>

async function run(values: Values, [command = '', id]: string[], env: NodeJS.ProcessEnv) {
  const isAction = command === 'redrive' || command === 'drop'
  if (!isAction && !(command in views))
    throw new UsageError(command ? `unknown command "${command}"` : 'give a command')
  if (!isAction && id !== undefined) throw new UsageError(`unknown argument "${id}"`)
  if (isAction && (id === undefined) !== (values.all === true))
    throw new UsageError('give either the request id of an event or --all')
  const send = await connect(env)
  if (isAction) await act(send, command, id, values)
  else await show(send, command as keyof typeof views, values)
}

/** Returns a function that sends one signed request and returns the JSON of its answer. */
async function connect(env: NodeJS.ProcessEnv): Promise<Send> {
  const notifier = await findNotifier(env)
  return async (method, path) => {
    const response = await inspect(notifier, method, path).catch((error: unknown) => {
      throw unreachable(notifier.endpoint, describeFetchError(error, notifier.timeoutMs))
    })
    const answer = (await response.json().catch(() => ({}))) as { message?: string }
    if (response.ok) return answer
    const type = response.headers.get('x-amzn-errortype')
    throw new StartError(
      ['the notifier answered', response.status, type, answer.message].filter(Boolean).join(' '),
    )
  }
}

async function act(send: Send, action: 'redrive' | 'drop', id: string | undefined, { json }: Values) {
  const query = id === undefined ? '' : `?id=${encodeURIComponent(id)}`
  const answer = (await send('POST', `${action}${query}`)) as { events: number }
  if (json) return console.log(JSON.stringify(answer, null, 2))
  if (id !== undefined && answer.events === 0)
    throw new StartError(`${id}: no dead letter has this request id`)
  console.log(`${answer.events} ${action === 'drop' ? 'dropped' : 'put back into the queue'}`)
}

const views = {
  invocations: { path: 'invocations', print: printInvocations },
  channels: { path: 'state', print: printChannels },
  events: { path: 'events', print: printEvents },
}

async function show(send: Send, command: keyof typeof views, values: Values) {
  const { path, print } = views[command]
  const answer = await send('GET', path)
  if (values.json) console.log(JSON.stringify(answer, null, 2))
  else print(answer as never, values)
}

/** Titles, errors and logs have users' text, which must not control the terminal. `--json` has it whole. */
const printRow = (...cells: string[]) => console.log(cells.map(oneLine).join('  ').trimEnd())

function printInvocations({ invocations }: { invocations: RecentInvocation[] }, { logs }: Values) {
  if (invocations.length === 0) console.log('none since the notifier was started')
  for (const { started_at, request_id, type, attempt, duration_ms, error, log_tail } of invocations) {
    printRow(started_at, request_id, type, `attempt ${attempt}`, `${duration_ms} ms`, error ?? 'ok')
    if (logs) for (const line of log_tail.trimEnd().split('\n')) console.log(`  | ${printable(line)}`)
  }
}

function printChannels({ channels }: { channels: ({ name: string } & ChannelState)[] }) {
  if (channels.length === 0) console.log('none: the notifier only prints its line')
  for (const { name, ...state } of channels)
    printRow(
      name,
      state.state,
      'until' in state ? `until ${state.until}` : 'reason' in state ? state.reason : '',
    )
}

type Events = { waiting: number; dead: number; events: (DeadLetter & { error: string | null })[] }

function printEvents({ waiting, dead, events }: Events) {
  console.log(`${waiting} waiting, ${dead} dead`)
  for (const { dead_at, request_id, condition, invocations, error, payload } of events) {
    printRow(dead_at, request_id, condition, `${invocations} attempts`, error ?? 'never tried')
    console.log(`  | ${oneLine(payload)}`)
  }
}

runCommand({
  name: 'notifier',
  help,
  options: { all: { type: 'boolean' }, logs: { type: 'boolean' }, json: { type: 'boolean' } },
  positionals: 2,
  run,
})
