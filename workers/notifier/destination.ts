/** Where an Event goes that the function would not handle: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html */
import { mkdir, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { ConcludedEvent } from './queued-events.ts'

export type Destination = (record: object) => Promise<void>

const timeoutMs = 5_000

/** AWS's record of an Event given up. */
export function describeFailedEvent(event: ConcludedEvent) {
  return {
    version: '1.0',
    timestamp: new Date().toISOString(),
    requestContext: {
      requestId: event.request_id,
      // An ARN has seven parts before a qualifier.
      functionArn:
        event.function_arn.split(':').length > 7 ? event.function_arn : `${event.function_arn}:$LATEST`,
      condition: event.condition,
      approximateInvokeCount: event.invocations,
    },
    requestPayload: JSON.parse(event.payload) as unknown,
    // Neither is there when it grew too old before its first try.
    ...(event.response !== null && {
      responseContext: { statusCode: 200, executedVersion: '$LATEST', functionError: 'Unhandled' },
      responsePayload: JSON.parse(event.response) as unknown,
    }),
  }
}

/**
 * @param place an HTTP(S) URL, which gets each record by POST, or a file, which gets each as a line of JSON
 * @returns a function that resolves when the receiver has answered 2xx, or the line is on the disk, and rejects otherwise
 */
export function createDestination(place: string): Destination {
  if (/^https?:/.test(place)) return (record) => post(new URL(place), JSON.stringify(record))
  return (record) => append(place, `${JSON.stringify(record)}\n`)
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
  await mkdir(dirname(path), { recursive: true })
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
