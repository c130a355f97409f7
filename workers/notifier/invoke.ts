/** Entry of `npm run notifier:invoke`: sends one event to the notifier and prints the answer. */
import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import { createLogger } from '../../src/core/log.ts'
import { StartError } from '../../src/core/start-error.ts'
import { type OutboxEvent, parseEvent } from '../../src/outbox/event.ts'
import { InvocationError, type LambdaAnswer, sendInvocation } from '../../src/outbox/lambda-client.ts'
import { runCommand, UsageError } from '../../src/runtime/process/command.ts'
import { runFunction } from '../lambda/invocation.ts'
import { findNotifier, unreachable } from './caller.ts'
import { openChannels } from './channels.ts'
import { emailChannels } from './email.ts'
import { createHandler } from './handler.ts'
import { readNotifications } from './settings.ts'
import { readEventOfTask } from './task-event.ts'

const help = `Invokes the notifier with one event and prints the status and the result.

  npm run notifier:invoke -- --event FILE    the event in a JSON file, as the outbox has it; - reads standard input
  npm run notifier:invoke -- --task ID       an event with a new id, made from a completed task of the database
  npm run notifier:invoke -- --help          this text

  --local    run the handler in this process instead of asking the running notifier

The notifier is NOTIFIER_ENDPOINT, or the one that npm start runs on NOTIFIER_PORT (3001). The keys are AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, or those that npm start keeps in DATA_DIR (./data). The database is DATABASE_URL, or without it the
one that a running npm start keeps under DATA_DIR. A function that fails is reported by exit code 1.
`

const functionNameOf = (env: NodeJS.ProcessEnv) => env.NOTIFIER_FUNCTION || 'task-notifier'

type Options = { event?: string; task?: string; local?: boolean }

async function run(options: Options, env: NodeJS.ProcessEnv) {
  if ((options.event === undefined) === (options.task === undefined))
    throw new UsageError('give either --event FILE or --task ID')
  const { event: file = '-', task } = options
  const event = await (task === undefined ? readEvent(file) : readEventOfTask(task, env))
  if (options.local) await invokeLocally(event, env)
  else await invokeOverHttp(event, env)
}

async function readEvent(file: string): Promise<OutboxEvent> {
  const name = file === '-' ? 'standard input' : file
  const json = await (file === '-' ? text(process.stdin) : readFile(file, 'utf8')).catch((error) => {
    throw new StartError(
      `${name}: cannot be read (${error.code ?? error.message}), looked for in ${process.cwd()}`,
    )
  })
  try {
    return parseEvent(JSON.parse(json))
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new StartError(`${name}: ${error instanceof SyntaxError ? 'not JSON: ' : ''}${problem}`)
  }
}

async function invokeLocally(event: OutboxEvent, env: NodeJS.ProcessEnv) {
  const functionName = functionNameOf(env)
  const handler = createHandler({ channels: openChannels(readNotifications(env), { email: emailChannels }) })
  const { payload, error } = await runFunction(() => ({ run: handler }), {
    event,
    arn: `arn:aws:lambda:local:000000000000:function:${functionName}`,
    functionName,
    requestId: crypto.randomUUID(),
    logStreamName: 'local',
    timeoutMs: 15_000,
    now: Date.now,
    // Its only message is in the result.
    log: createLogger('silent'),
  })
  show({ status: 200, functionError: error ? 'Unhandled' : null, payload })
}

async function invokeOverHttp(event: OutboxEvent, env: NodeJS.ProcessEnv) {
  const { dataDirectory, ...notifier } = await findNotifier(env)
  // With Event there would be no result to show.
  const options = { ...notifier, functionName: functionNameOf(env), invocation: 'RequestResponse' } as const
  const answer = await sendInvocation(options, JSON.stringify(event)).catch((error): LambdaAnswer => {
    if (!(error instanceof InvocationError)) throw error
    throw unreachable(notifier.endpoint, error.message)
  })
  show({ ...answer, functionError: answer.headers.get('x-amz-function-error') })
  if (answer.status === 403 && env.AWS_ACCESS_KEY_ID) {
    console.error(`the keys came from AWS_ACCESS_KEY_ID; without it those in ${dataDirectory} are used`)
  }
}

type Result = { status: number; functionError: string | null; payload: string }

function show({ status, functionError, payload }: Result) {
  console.log(`status: ${status}`)
  if (functionError !== null) console.log(`function error: ${functionError}`)
  console.log(`result: ${payload}`)
  if (status !== 200 || functionError !== null) process.exitCode = 1
}

runCommand({
  name: 'notifier:invoke',
  help,
  options: { event: { type: 'string' }, task: { type: 'string' }, local: { type: 'boolean' } },
  run: (options, _, env) => run(options, env),
})
