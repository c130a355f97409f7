/** Where an Event goes that the function would not handle: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html */
import { open } from 'node:fs/promises'
import { dirname } from 'node:path'
import { makeDirectory } from '../../src/runtime/process/directories.ts'
import type { ConcludedEvent } from './queued-events.ts'

/** Takes JSON. */
export type Destination = (record: string) => Promise<void>

const timeoutMs = 5_000

/**
 * AWS's record of an Event given up: JSON in one line. What was sent and answered is put in as text, not read and written again, which
 * would change numbers and fail on what is nested too deep.
 */
export function describeFailedEvent(event: ConcludedEvent): string {
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
  const members = [request.slice(1, -1), `"requestPayload":${inOneLine(event.payload)}`]
  if (event.response !== null) {
    // Not there when it grew too old before its first try.
    const context = { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' }
    members.push(`"responseContext":${JSON.stringify(context)}`, `"responsePayload":${event.response}`)
  }
  return `{${members.join(',')}}`
}

/** In JSON a line break is never part of a value. */
const inOneLine = (json: string) => json.replace(/[\r\n]+/g, ' ')

/**
 * @param place an HTTP(S) URL, which gets each record by POST, or a file, which gets each as a line of JSON
 * @returns a function that resolves when the receiver has answered 2xx, or the line is on the disk, and rejects otherwise
 */
export function createDestination(place: string): Destination {
  if (/^https?:/.test(place)) return (record) => post(new URL(place), record)
  return (record) => append(place, `${record}\n`)
}

async function post(url: URL, body: string) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
    // The record goes where the operator said, nowhere else.
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  })
  await response.body?.cancel().catch(() => undefined)
  if (!response.ok) throw new Error(`it answered ${response.status}`)
}

async function append(path: string, line: string) {
  await makeDirectory(dirname(path))
  // Its records have what users wrote: for the operator only.
  const file = await open(path, 'a', 0o600)
  try {
    // One write, so that the lines of several processes do not mix.
    await file.write(line)
    await file.datasync()
  } finally {
    await file.close()
  }
}
