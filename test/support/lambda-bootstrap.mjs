// The loop of AWS's Node runtime: imports the module and the export that _HANDLER names, then
// takes events from the Runtime API one by one:
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { AWS_LAMBDA_RUNTIME_API, LAMBDA_TASK_ROOT, _HANDLER } = process.env
const api = `http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime`

const post = async (path, body, headers = {}) => {
  const response = await fetch(api + path, { method: 'POST', body, headers })
  if (response.status !== 202) throw new Error(`${path} answered ${response.status}`)
}

const postError = (path, error) => {
  const {
    name: errorType,
    message: errorMessage,
    stack,
  } = error instanceof Error ? error : { name: typeof error, message: String(error), stack: '' }
  const body = JSON.stringify({ errorType, errorMessage, trace: (stack ?? '').split('\n') })
  return post(path, body, { 'Lambda-Runtime-Function-Error-Type': errorType })
}

function contextOf(headers) {
  const deadline = Number(headers.get('lambda-runtime-deadline-ms'))
  const clientContext = headers.get('lambda-runtime-client-context')
  return {
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: headers.get('lambda-runtime-aws-request-id'),
    invokedFunctionArn: headers.get('lambda-runtime-invoked-function-arn'),
    identity: undefined,
    clientContext: clientContext ? JSON.parse(clientContext) : undefined,
    callbackWaitsForEmptyEventLoop: true,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  }
}

async function load() {
  const [file, name] = _HANDLER.split('.')
  const module = await import(pathToFileURL(join(LAMBDA_TASK_ROOT, `${file}.mjs`)).href)
  if (typeof module[name] !== 'function') throw new Error(`${_HANDLER} is undefined or not exported`)
  return module[name]
}

let handler
try {
  handler = await load()
} catch (error) {
  await postError('/init/error', error)
  process.exit(1)
}
for (;;) {
  const next = await fetch(`${api}/invocation/next`)
  const context = contextOf(next.headers)
  try {
    const result = await handler(await next.json(), context)
    await post(`/invocation/${context.awsRequestId}/response`, JSON.stringify(result ?? null))
  } catch (error) {
    await postError(`/invocation/${context.awsRequestId}/error`, error)
  }
}
