/** API Gateway: turns HTTP requests into events of payload format 2.0, and results into answers. */
import { createServer, type IncomingMessage } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda'
import type { Lambda } from './lambda.ts'
import { listenOnLoopback } from './ports.ts'

/** As an HTTP API does: a body travels as text if its type and its bytes are text, otherwise as base64. */
export async function eventOf(request: IncomingMessage): Promise<APIGatewayProxyEventV2> {
  const { method = '', url = '', socket } = request
  const [rawPath = '', ...query] = url.split('?')
  const rawQueryString = query.join('?')
  const { cookie, ...headers } = joined(request)
  const bytes = await buffer(request)
  const isText =
    /^(text\/|application\/(json|javascript|xml))/.test(headers['content-type'] ?? '') &&
    Buffer.from(bytes.toString()).equals(bytes)
  return makeHttpEvent({
    method,
    rawPath,
    rawQueryString,
    headers,
    ...(cookie !== undefined ? { cookies: cookie.split('; ') } : {}),
    ...(bytes.length > 0
      ? { body: bytes.toString(isText ? 'utf8' : 'base64'), isBase64Encoded: !isText }
      : {}),
    sourceIp: socket.remoteAddress ?? '',
  })
}

type Parts = Partial<Pick<APIGatewayProxyEventV2, 'cookies' | 'body' | 'isBase64Encoded' | 'headers'>> & {
  method: string
  rawPath: string
  rawQueryString?: string
  sourceIp?: string
}

/** https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html */
export function makeHttpEvent({
  method,
  rawPath,
  rawQueryString = '',
  sourceIp = '192.0.2.1',
  headers = {},
  ...rest
}: Parts): APIGatewayProxyEventV2 {
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath,
    rawQueryString,
    headers: { host: 'abc123.execute-api.eu-central-1.amazonaws.com', ...headers },
    isBase64Encoded: false,
    requestContext: {
      accountId: '000000000000',
      apiId: 'abc123',
      domainName: 'abc123.execute-api.eu-central-1.amazonaws.com',
      domainPrefix: 'abc123',
      http: { method, path: rawPath, protocol: 'HTTP/1.1', sourceIp, userAgent: 'test' },
      requestId: 'JKJaXmPLvHcESHA=',
      routeKey: '$default',
      stage: '$default',
      time: '25/Nov/2026:19:03:58 +0000',
      timeEpoch: 1795633438000,
    },
    ...rest,
  }
}

/** Lower-case names; repeated headers are joined with commas. */
function joined({ rawHeaders }: IncomingMessage) {
  const headers: Record<string, string> = {}
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = String(rawHeaders[i]).toLowerCase()
    const value = String(rawHeaders[i + 1])
    headers[name] = name in headers ? `${headers[name]},${value}` : value
  }
  return headers
}

export async function startLambdaFront(lambda: Pick<Lambda, 'invoke'>) {
  const server = createServer(async (request, response) => {
    const { payload } = await lambda.invoke(await eventOf(request)).catch(() => ({ payload: undefined }))
    if (payload === undefined) {
      // API Gateway's answer when the function has failed or ended.
      response.writeHead(500, { 'Content-Type': 'application/json' })
      return response.end(JSON.stringify({ message: 'Internal Server Error' }))
    }
    const { statusCode, headers, cookies, body, isBase64Encoded } =
      payload as APIGatewayProxyStructuredResultV2
    for (const [name, value] of Object.entries(headers ?? {})) response.setHeader(name, String(value))
    if (cookies) response.setHeader('Set-Cookie', cookies)
    response.writeHead(statusCode ?? 200)
    return response.end(Buffer.from(body ?? '', isBase64Encoded ? 'base64' : 'utf8'))
  })
  const port = await listenOnLoopback(server)
  return {
    url: `http://127.0.0.1:${port}`,
    close() {
      server.closeAllConnections()
      server.close()
    },
  }
}
