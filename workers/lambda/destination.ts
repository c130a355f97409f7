/**
 * On-failure destination: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
 */
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { postJson } from '../../src/core/post-json.ts'
import { makeDirectory } from '../../src/runtime/process/files.ts'
import type { DeadEvent } from './queued-events.ts'

/** Takes a record as JSON. Resolves when the receiver has answered 2xx or the line is on the disk. */
export type Destination = (record: string) => Promise<void>

const timeoutMs = 5_000

/** One line. Payload and response stay text: parsing them would change numbers, and fail on deep nesting. */
export function describeDeadEvent(event: DeadEvent): string {
  // An ARN has seven parts before a qualifier.
  const isQualified = event.function_arn.split(':').length > 7
  const request = JSON.stringify({
    version: '1.0',
    timestamp: new Date().toISOString(),
    requestContext: {
      requestId: event.request_id,
      functionArn: isQualified ? event.function_arn : `${event.function_arn}:$LATEST`,
      condition: event.condition,
      approximateInvokeCount: event.invocations,
    },
  })
  // In JSON a line break is never part of a value.
  const members = [request.slice(1, -1), `"requestPayload":${event.payload.replace(/[\r\n]+/g, ' ')}`]
  // There is no response if the event grew too old before its first attempt.
  if (event.response !== null) {
    const context = { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' }
    members.push(`"responseContext":${JSON.stringify(context)}`, `"responsePayload":${event.response}`)
  }
  return `{${members.join(',')}}`
}

/** Posts each record to `target` if that is a URL; otherwise appends it as a line to that file. */
export function createDestination(target: string): Destination {
  if (/^https?:/.test(target)) return (record) => post(target, record)
  return (record) => append(target, `${record}\n`)
}

async function post(url: string, body: string) {
  const { ok, status } = await postJson(url, body, timeoutMs)
  if (!ok) throw new Error(`it answered ${status}`)
}

async function append(path: string, line: string) {
  await makeDirectory(dirname(path))
  // Only the owner may read what users wrote.
  const file = await open(path, 'a', 0o600)
  try {
    // A single write keeps the lines of several processes apart.
    await file.write(line)
    await file.datasync()
  } finally {
    await file.close()
  }
}
