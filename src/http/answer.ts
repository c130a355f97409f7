/** A response as plain data; the last step of an operation makes a Response of it. */

export type Answer = {
  status: number
  /** Besides those that every response has. */
  headers?: Record<string, string>
  /** JSON; null for none. */
  body: string | null
}

export const json = (body: unknown, status = 200, headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  body: JSON.stringify(body),
})

/** @param head the members before `results`, at least one. @param results each as JSON */
export const jsonList = (head: object, results: string[], headers: Record<string, string>): Answer => ({
  status: 200,
  headers,
  body: `${JSON.stringify(head).slice(0, -1)},"results":[${results.join(',')}]}`,
})

export const noContent: Answer = { status: 204, body: null }
