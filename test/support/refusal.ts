import { expect } from 'vitest'
import { StartError } from '../../src/core/start-error.ts'

/** The one line of the StartError with which the work must fail. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(StartError)
  const { message } = error as StartError
  expect(message).not.toContain('\n')
  return message
}
