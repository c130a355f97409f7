/** Slow requests, so that a process can be stopped during one. */
import { request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, vi } from 'vitest'
import { createClient, type User } from './client.ts'
import type { ApiProcess } from './processes.ts'

const patience = { timeout: 60_000, interval: 50 }

/** Begins a POST of a task, with half of its body. */
export async function beginUpload(api: Pick<ApiProcess, 'baseUrl' | 'addressHeader'>, { token }: User) {
  const body = JSON.stringify({ title: 'Sent in two halves' })
  const upload = request(new URL('/api/tasks/', api.baseUrl), {
    method: 'POST',
    headers: {
      Authorization: `Bearer ${token}`,
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    },
  })
  const answered = new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    upload.on('error', reject).on('response', async (response) => {
      resolve({ status: response.statusCode, body: await text(response) })
    })
  })
  answered.catch(() => {})
  upload.write(body.slice(0, 10))
  await untilCounted(api, 1, token)
  return { answered, finish: () => upload.end(body.slice(10)) }
}

/** Waits until this many requests of the user, or of the address, have arrived and been counted. */
export async function untilCounted(
  api: Pick<ApiProcess, 'baseUrl' | 'addressHeader'>,
  count: number,
  token?: string,
) {
  const { request } = createClient(api)
  const counted = async () => {
    const { body } = await request('GET', '/api/rate-limit/', token ? { token } : {})
    return body.limit - body.remaining
  }
  await vi.waitFor(async () => expect(await counted()).toBeGreaterThanOrEqual(count), patience)
}
