/** Expectations about problem documents (RFC 9457). */
import { expect } from 'vitest'
import { type Answer, problemFaults } from './client.ts'

export function expectProblem(answer: Answer, status: number) {
  expect(answer.status, JSON.stringify(answer.body)).toBe(status)
  expect(problemFaults(answer)).toEqual([])
}

/** Pointers, parameters and headers that the problem names, sorted. */
export const places = ({ body }: Answer): string[] =>
  body.errors.map((error: Record<string, string>) => error.pointer ?? error.parameter ?? error.header).sort()
