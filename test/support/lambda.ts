/**
 * An execution environment of AWS Lambda for a zip of `npm run build:lambda`: the Runtime API, and a process
 * that polls it and is stopped between two events, as on AWS.
 */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { unzipSync } from 'fflate'
import { root } from './directories.ts'
import { listenOnLoopback } from './ports.ts'
import { startProgram } from './processes.ts'

export type FunctionError = { errorType: string; errorMessage: string; trace: string[] }

export type Outcome = { payload: unknown; error?: undefined } | { payload?: undefined; error: FunctionError }

export type Lambda = Awaited<ReturnType<typeof startLambda>>

type Invocation = {
  id: string
  event: unknown
  settle: (outcome: Outcome) => void
  fail: (error: Error) => void
}

const region = 'eu-central-1'
const timeoutMs = 30_000

/** @param name of the zip, without `.zip` */
export async function startLambda(name: string, environment: Record<string, string> = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'task-api-lambda-'))
  await unzip(join(root, `dist/lambda/${name}.zip`), directory)

  const waiting: Invocation[] = []
  const underWay = new Map<string, Invocation>()
  /** The pending request of the runtime for the next event. */
  let idle: ServerResponse | undefined
  let initError: FunctionError | undefined
  let markReady: (error: FunctionError | undefined) => void = () => {}
  const ready = new Promise<FunctionError | undefined>((resolve) => {
    markReady = resolve
  })

  function handOver() {
    const response = idle
    const invocation = response && waiting.shift()
    if (!invocation) return
    idle = undefined
    underWay.set(invocation.id, invocation)
    program.child.kill('SIGCONT')
    response.writeHead(200, {
      'Content-Type': 'application/json',
      'Lambda-Runtime-Aws-Request-Id': invocation.id,
      'Lambda-Runtime-Deadline-Ms': String(Date.now() + timeoutMs),
      'Lambda-Runtime-Invoked-Function-Arn': `arn:aws:lambda:${region}:000000000000:function:${name}`,
    })
    response.end(JSON.stringify(invocation.event))
  }

  const server = createServer(async (request, response) => {
    const [, id = '', what = ''] =
      /^\/2018-06-01\/runtime\/(?:invocation\/([\w-]+)\/)?(init\/error|invocation\/next|response|error)$/.exec(
        request.url ?? '',
      ) ?? []
    if (what === 'invocation/next' && request.method === 'GET') {
      idle = response
      markReady(undefined)
      // Frozen until the next event.
      if (waiting.length === 0) program.child.kill('SIGSTOP')
      return handOver()
    }
    const body = await readJson(request)
    const invocation = underWay.get(id)
    if (what === 'init/error') {
      initError = body as FunctionError
      markReady(initError)
    } else if (invocation) {
      underWay.delete(id)
      invocation.settle(what === 'error' ? { error: body as FunctionError } : { payload: body })
    }
    response.writeHead(what === 'init/error' || invocation ? 202 : 404).end()
  })
  const port = await listenOnLoopback(server)

  const program = startProgram([process.execPath, join(root, 'test/support/lambda-bootstrap.mjs')], {
    cwd: directory,
    environment: {
      AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${port}`,
      LAMBDA_TASK_ROOT: directory,
      _HANDLER: 'index.handler',
      AWS_LAMBDA_FUNCTION_NAME: name,
      AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
      AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '128',
      AWS_LAMBDA_LOG_GROUP_NAME: `/aws/lambda/${name}`,
      AWS_LAMBDA_LOG_STREAM_NAME: '2026/11/25/[$LATEST]0123456789abcdef0123456789abcdef',
      AWS_REGION: region,
      AWS_ACCESS_KEY_ID: 'ASIAEXAMPLE',
      AWS_SECRET_ACCESS_KEY: 'the-key-of-the-role-of-the-function',
      AWS_SESSION_TOKEN: 'the-token-of-the-role-of-the-function',
      ...environment,
    },
  })
  const ended = new Promise<void>((resolve) => program.child.once('close', () => resolve()))
  ended.then(() => {
    markReady(initError)
    for (const { fail } of [...waiting, ...underWay.values()])
      fail(
        new Error(`the environment ended:\n${program.lines.map((line) => JSON.stringify(line)).join('\n')}`),
      )
  })

  return {
    ...program,
    /** The error of loading the module; undefined once it waits for events. */
    ready,
    /** Handles one event at a time; others wait. Rejects when the environment ends without an answer. */
    invoke(event: unknown): Promise<Outcome> {
      return new Promise((settle, fail) => {
        waiting.push({ id: crypto.randomUUID(), event, settle, fail })
        handOver()
      })
    },
    async stop() {
      program.child.kill('SIGKILL')
      await ended
      server.closeAllConnections()
      server.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const body = await text(request)
  return body === '' ? undefined : JSON.parse(body)
}

async function unzip(zip: string, directory: string) {
  for (const [name, bytes] of Object.entries(unzipSync(await readFile(zip)))) {
    await mkdir(dirname(join(directory, name)), { recursive: true })
    await writeFile(join(directory, name), bytes)
  }
}
