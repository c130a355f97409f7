/** Returns why `fetch` failed. Node says only "fetch failed" and has the reason in the cause. */
export function describeFetchError(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'TimeoutError') return `no answer within ${timeoutMs} ms`
  return error.cause instanceof Error ? error.cause.message || error.cause.name : error.message
}

/**
 * Posts JSON and resolves with the head of the answer; its body, which may be endless, is not read. Follows
 * no redirects, which could lead to another server.
 * @throws Error in one line without the URL, after `timeoutMs` at the latest
 */
export async function postJson(
  url: string | URL,
  body: string,
  timeoutMs: number,
  headers?: Record<string, string>,
) {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
    redirect: 'manual',
    signal: AbortSignal.timeout(timeoutMs),
  }).catch((error: unknown) => {
    throw new Error(describeFetchError(error, timeoutMs), { cause: error })
  })
  await response.body?.cancel().catch(() => undefined)
  return response
}
