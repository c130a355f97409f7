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

export const noContent: Answer = { status: 204, body: null }
