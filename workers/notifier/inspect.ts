/** Entry of `npm run notifier`: shows what the notifier ran and what it gave up, and puts that back or drops it. */
import { resolve } from 'node:path'
import { oneLine, printable } from '../../src/core/plain-text.ts'
import { StartError } from '../../src/core/start-error.ts'
import { runCommand, UsageError } from '../../src/runtime/process/command.ts'
import type { RecentInvocation } from '../lambda/execution.ts'
import { inspectNotifier } from '../lambda/inspection-client.ts'
import { findCredentials, findEndpoint, unreachable } from './caller.ts'
import type { ChannelState } from './gate.ts'

const help = `Looks into the running notifier.

  npm run notifier -- invocations     the last 100 that it ran since it was started, the newest first
  npm run notifier -- channels        how people are told, and what is throttled or was stopped
  npm run notifier -- events          how many Events wait, and those that were given up
  npm run notifier -- redrive ID      puts an Event that was given up back into the queue, by its request id
  npm run notifier -- redrive --all   all of them
  npm run notifier -- drop ID         forgets an Event that was given up
  npm run notifier -- drop --all      all of them
  npm run notifier -- --help          this text

  --logs    with invocations: what each printed, too
  --json    the answer as it came

The notifier is NOTIFIER_ENDPOINT, or the one that npm start runs on NOTIFIER_PORT (3001). The keys are AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, or those that npm start keeps in DATA_DIR (./data).
`

type Options = { all?: boolean; logs?: boolean; json?: boolean }
type DeadEvent = {
  request_id: string
  received_at: string
  dead_at: string
  condition: string
  invocations: number
  error: string | null
  payload: string
}

const timeoutMs = 15_000

async function run(options: Options, [command, id]: string[], env: NodeJS.ProcessEnv) {
  checkArguments(options, command, id)
  const ask = await connect(env)
  const answer = await (isChange(command)
    ? ask('POST', `${command}${id === undefined ? '' : `?id=${encodeURIComponent(id)}`}`)
    : ask('GET', String(command)))
  if (options.json) return console.log(JSON.stringify(answer, null, 2))
  if (command === 'invocations') showInvocations(answer as { invocations: RecentInvocation[] }, options)
  else if (command === 'channels') showChannels(answer as { channels: NamedState[] })
  else if (command === 'events') showEvents(answer as { waiting: number; dead: number; events: DeadEvent[] })
  else if (isChange(command)) showChanged(answer as { events: number }, command, id)
}

function checkArguments({ all }: Options, command?: string, id?: string) {
  if (!isLook(command) && !isChange(command))
    throw new UsageError(command === undefined ? 'give a command' : `unknown command "${command}"`)
  if (isLook(command) && id !== undefined) throw new UsageError(`unknown argument "${id}"`)
  if (isChange(command) && (id === undefined) !== (all === true))
    throw new UsageError('give either the request id of an event or --all')
}

const isLook = (command: string | undefined) =>
  command === 'invocations' || command === 'channels' || command === 'events'

const isChange = (command: string | undefined) => command === 'redrive' || command === 'drop'

/** @returns a function that sends one signed request and answers its JSON */
async function connect(env: NodeJS.ProcessEnv) {
  const endpoint = findEndpoint(env)
  const credentials = await findCredentials(resolve(env.DATA_DIR || './data'), env)
  const region = env.AWS_REGION || 'us-east-1'
  return async (method: 'GET' | 'POST', path: string): Promise<unknown> => {
    const asking = inspectNotifier({ endpoint, credentials, region, timeoutMs }, method, path)
    const response = await asking.catch((error: unknown) => {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
      throw unreachable(endpoint, cause instanceof Error ? cause.message : String(cause))
    })
    const answer = (await response.json().catch(() => ({}))) as { message?: string }
    if (response.ok) return answer
    const type = response.headers.get('x-amzn-errortype')
    throw new StartError(
      ['the notifier answered', response.status, type, answer.message].filter(Boolean).join(' '),
    )
  }
}

/** What was printed, thrown or sent may have been written by anyone: on the terminal it has no effect. `--json` has it whole. */
function showInvocations({ invocations }: { invocations: RecentInvocation[] }, { logs }: Options) {
  if (invocations.length === 0) console.log('none since the notifier was started')
  for (const invocation of invocations) {
    const { started_at, request_id, type, attempt, duration_ms, error, log_tail } = invocation
    console.log(
      [started_at, request_id, type, `attempt ${attempt}`, `${duration_ms} ms`, oneLine(error ?? 'ok')].join(
        '  ',
      ),
    )
    if (logs) for (const line of log_tail.trimEnd().split('\n')) console.log(`  | ${printable(line)}`)
  }
}

type NamedState = { name: string } & ChannelState

function showChannels({ channels }: { channels: NamedState[] }) {
  if (channels.length === 0) console.log('none: the notifier only prints its line')
  for (const { name, ...state } of channels) {
    const more = 'until' in state ? `until ${state.until}` : 'reason' in state ? state.reason : ''
    console.log([oneLine(name), state.state, oneLine(more)].join('  ').trimEnd())
  }
}

function showEvents({ waiting, dead, events }: { waiting: number; dead: number; events: DeadEvent[] }) {
  console.log(`${waiting} waiting, ${dead} given up`)
  for (const { dead_at, request_id, condition, invocations, error, payload } of events) {
    console.log(
      [dead_at, request_id, condition, `${invocations} tries`, oneLine(error ?? 'never tried')].join('  '),
    )
    console.log(`  | ${oneLine(payload)}`)
  }
}

function showChanged({ events }: { events: number }, command: 'redrive' | 'drop', id: string | undefined) {
  if (id !== undefined && events === 0)
    throw new StartError(`${id}: no event with this request id was given up`)
  console.log(`${events} ${command === 'drop' ? 'dropped' : 'put back into the queue'}`)
}

runCommand({
  name: 'notifier',
  help,
  options: { all: { type: 'boolean' }, logs: { type: 'boolean' }, json: { type: 'boolean' } },
  positionals: 2,
  run,
})
