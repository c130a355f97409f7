/**
 * A real HTTP server in the place of the one that ECS has for containers: lends whatever key pair it was last
 * given.
 */
import { createServer, type ServerResponse } from 'node:http'
import { listenOnLoopback } from './ports.ts'

type KeyPair = { accessKeyId: string; secretAccessKey: string }
type Answer = (response: ServerResponse) => void

/** Answers only who knows its path and, where there is one, its token. */
export async function startCredentialsEndpoint({ token }: { token?: string } = {}) {
  const path = '/v2/credentials/3f1a-secret-path'
  let answer: Answer = (response) => void response.writeHead(503).end()
  let asked = 0
  const server = createServer((request, response) => {
    asked += 1
    if (request.url !== path) return void response.writeHead(404).end()
    if (request.headers.authorization !== token) return void response.writeHead(401).end()
    answer(response)
  })
  const port = await listenOnLoopback(server)
  return {
    url: `http://127.0.0.1:${port}${path}`,
    asked: () => asked,
    /** As the ECS agent words it; `sessionToken` is made from the key's id. */
    lend({ accessKeyId, secretAccessKey }: KeyPair, expiresAt: number) {
      const body = {
        RoleArn: 'arn:aws:iam::123456789012:role/task-api',
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        Token: `session of ${accessKeyId}`,
        Expiration: new Date(expiresAt).toISOString(),
      }
      answer = (response) =>
        void response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
    },
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    },
  }
}
