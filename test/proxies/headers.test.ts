/** Long headers through nginx, which answers 502 when they exceed its buffer of 4 KB. */
import { expect, test } from 'vitest'
import { type Answer, createClient, type Task } from '../support/client.ts'
import { startNginx } from '../support/nginx.ts'
import { createService } from '../support/processes.ts'

test('a walk by long titles with a long search gets no 502', async (context) => {
  const service = await createService(context)
  const api = await service.start()
  const nginx = await startNginx(api.baseUrl)
  context.onTestFinished(nginx.stop)
  const { request, register, createTask } = createClient({ ...api, baseUrl: nginx.baseUrl })
  const { token } = await register()
  const emoji = (count: number) =>
    Array.from({ length: count }, (_, i) => String.fromCodePoint(0x1f300 + ((i * 37) % 0x150))).join('')
  for (let i = 0; i < 3; i++) await createTask(token, { title: emoji(255) })
  for (const search of [emoji(100), emoji(20), '']) {
    const seen: number[] = []
    let url: string | null = `/api/tasks/?${new URLSearchParams({ search, ordering: 'title', limit: '1' })}`
    while (url) {
      const headers = { 'X-Request-Id': 'x'.repeat(128) }
      const page: Answer = await request('GET', url, { token, headers })
      expect(page.status, url).toBe(200)
      seen.push(...page.body.results.map(({ id }: Task) => id))
      url = page.body.next
    }
    expect(new Set(seen).size).toBe(3)
  }
})
