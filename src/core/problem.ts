/** Errors that clients see, as RFC 9457 problem documents. Any other error answers a bare 500. */

const titles = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  412: 'Precondition Failed',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  417: 'Expectation Failed',
  422: 'Unprocessable Content',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
} as const

export type ProblemStatus = keyof typeof titles

/** One fault of the input, at a JSON pointer into the body, or in a query parameter or a header. */
export type InputError = { detail: string } & (
  | { pointer: string }
  | { parameter: string }
  | { header: string }
)

type ProblemOptions = {
  errors?: InputError[]
  headers?: Record<string, string>
  /** Further members of the document, as RFC 9457 section 3.2 allows. */
  members?: Record<string, unknown>
  type?: string
  cause?: unknown
}

export class Problem extends Error {
  override name = 'Problem'
  readonly status: ProblemStatus
  readonly options: ProblemOptions

  constructor(status: ProblemStatus, detail: string, options: ProblemOptions = {}) {
    super(detail, { cause: options.cause })
    this.status = status
    this.options = options
  }

  toJSON() {
    const { type = 'about:blank', errors, members } = this.options
    return {
      type,
      title: titles[this.status],
      status: this.status,
      detail: this.message,
      ...(errors ? { errors } : {}),
      ...members,
    }
  }
}

export const problemMediaType = 'application/problem+json'

export const invalidInput = (errors: InputError[]) =>
  new Problem(400, 'The request has invalid input; see errors.', { errors })

export const notFound = () => new Problem(404, 'There is nothing here.')

/** For an operation that may work again soon. Sends Retry-After. */
export const unavailable = (detail: string, retryAfterSeconds = 1) =>
  new Problem(503, detail, { headers: { 'Retry-After': String(retryAfterSeconds) } })
