/** Entry of `npm run notifier:invoke`: sends one event to the notifier and prints the answer. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { text } from 'node:stream/consumers'
import { createLogger } from '../../src/core/log.ts'
import { StartError } from '../../src/core/start-error.ts'
import { type OutboxEvent, parseEvent } from '../../src/outbox/event.ts'
import { InvocationError, type LambdaAnswer, sendInvocation } from '../../src/outbox/lambda-client.ts'
import { runCommand, UsageError } from '../../src/runtime/process/command.ts'
import { runFunction } from '../lambda/invocation.ts'
import { findCredentials, findEndpoint, unreachable } from './caller.ts'
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

type Environment = NodeJS.ProcessEnv

/** Longer than the time-out of the function. */
const timeoutMs = 15_000

type Options = { event?: string; task?: string; local?: boolean }

async function run(options: Options, env: Environment) {
  if ((options.event === undefined) === (options.task === undefined))
    throw new UsageError('give either --event FILE or --task ID')
  const dataDirectory = resolve(env.DATA_DIR || './data')
  const { DATABASE_URL: databaseUrl, DATABASE_CA: databaseCa } = env
  const event =
    options.task === undefined
      ? await readEvent(options.event ?? '-')
      : await readEventOfTask(options.task, { databaseUrl, databaseCa, dataDirectory })
  if (options.local) await invokeLocally(event, env)
  else await invokeOverHttp(event, dataDirectory, env)
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

async function invokeLocally(event: OutboxEvent, env: Environment) {
  const functionName = env.NOTIFIER_FUNCTION || 'task-notifier'
  const handler = createHandler({ channels: openChannels(readNotifications(env), { email: emailChannels }) })
  const { payload, error } = await runFunction(() => ({ run: handler }), {
    event,
    arn: `arn:aws:lambda:local:000000000000:function:${functionName}`,
    functionName,
    requestId: crypto.randomUUID(),
    logStreamName: 'local',
    timeoutMs,
    now: Date.now,
    // Its only message is in the result.
    log: createLogger('silent'),
  })
  show({ status: 200, functionError: error ? 'Unhandled' : null, payload })
}

async function invokeOverHttp(event: OutboxEvent, dataDirectory: string, env: Environment) {
  const endpoint = findEndpoint(env)
  const answer = await sendInvocation(
    {
      endpoint,
      functionName: env.NOTIFIER_FUNCTION || 'task-notifier',
      // With Event there would be no result to show.
      invocation: 'RequestResponse',
      region: env.AWS_REGION || 'us-east-1',
      credentials: await findCredentials(dataDirectory, env),
      timeoutMs,
    },
    JSON.stringify(event),
  ).catch((error: unknown): LambdaAnswer => {
    if (!(error instanceof InvocationError)) throw error
    throw unreachable(endpoint, error.message)
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
