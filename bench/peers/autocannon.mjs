// Load generator for machines without wrk, and at a steady RATE: sends the requests in the file REQUESTS (a
// JSON array), checks each answer's status, and writes figures to the file RESULT.
import { readFileSync, writeFileSync } from 'node:fs'
import autocannon from 'autocannon'

const { REQUESTS, RESULT, STATUS, URL, CONNECTIONS, SECONDS, RATE } = process.env
const expected = STATUS.split(',').map(Number)
const requests = JSON.parse(readFileSync(REQUESTS, 'utf8'))
const connections = Number(CONNECTIONS)
let wrong = 0
let next = 0
const result = await autocannon({
  url: URL,
  connections,
  duration: Number(SECONDS),
  timeout: 30,
  ...(RATE ? { overallRate: Number(RATE) } : {}),
  setupClient(client) {
    // Each connection has its own share of the requests.
    const first = next++
    client.setRequests(requests.filter((_, position) => position % connections === first))
    client.on('response', (status) => {
      if (!expected.includes(status)) wrong++
    })
  },
})
const { latency, errors, timeouts, duration } = result
const figures = {
  requests: result.requests.total,
  seconds: duration,
  p50: latency.p50,
  p99: latency.p99,
  wrong: wrong + errors + timeouts,
}
writeFileSync(RESULT, JSON.stringify(figures))
