/**
 * Verifies AWS Signature Version 4 in the Authorization header, by signing the request again and comparing.
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
 */
import { AwsV4Signer } from 'aws4fetch'
import { timingSafeEqual } from 'hono/utils/buffer'
import { sha256 } from 'hono/utils/crypto'
import { ServiceError } from './service-error.ts'

export type KeyPair = { accessKeyId: string; secretAccessKey: string }

type Expected = {
  credentials: KeyPair
  region: string
  service: string
  /** Milliseconds since the epoch. */
  now: number
}

const allowedSkewMs = 5 * 60_000

/**
 * Checks the headers before the body is read: key pair, scope, a time within 5 minutes of `now`, and that the
 * necessary headers are signed. Anyone who knows the key's id passes: the signature is not checked.
 * @throws ServiceError 403 with AWS's type
 */
export function checkClaims(headers: Headers, expected: Expected) {
  const { accessKeyId, scope, signedHeaders, signature } = parseAuthorization(headers)
  if (accessKeyId !== expected.credentials.accessKeyId) {
    throw refusal('UnrecognizedClientException', 'The security token included in the request is invalid.')
  }
  const datetime = checkDate(headers, expected.now)
  checkScope(scope, datetime, expected)
  for (const name of ['host', 'x-amz-date']) {
    if (!signedHeaders.includes(name)) throw invalid(`'${name}' must be among the SignedHeaders.`)
  }
  // These headers are instructions, so nobody on the way may change them.
  for (const name of headers.keys()) {
    if (name.startsWith('x-amz-') && !signedHeaders.includes(name))
      throw invalid(`'${name}' is in the request, but not among the SignedHeaders.`)
  }
  return { signedHeaders, signature, datetime }
}

/**
 * Checks the claims, the signature, and that it covers `body`, the bytes received. `request.url` must have
 * the host that the caller used.
 * @throws ServiceError 403 with AWS's type
 */
export async function verifySignature(request: Request, body: Uint8Array<ArrayBuffer>, expected: Expected) {
  const { signedHeaders, signature, datetime } = checkClaims(request.headers, expected)
  await checkBodyHash(request.headers, body)

  const signer = new AwsV4Signer({
    method: request.method,
    url: request.url,
    // The signer adds the host from the URL. A signed header that is missing makes the signatures differ.
    headers: [...request.headers].filter(([name]) => name !== 'host' && signedHeaders.includes(name)),
    body,
    ...expected.credentials,
    region: expected.region,
    service: expected.service,
    datetime,
    allHeaders: true,
  })
  if (!(await timingSafeEqual(await signer.signature(), signature))) {
    throw invalid(
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.',
    )
  }
}

function parseAuthorization(headers: Headers) {
  const header = headers.get('authorization')
  if (header === null) {
    throw new ServiceError(403, 'MissingAuthenticationTokenException', 'Missing Authentication Token')
  }
  const [, credential, signedHeaders, signature] =
    /^AWS4-HMAC-SHA256 +Credential=([^\s,]+) *, *SignedHeaders=([a-z0-9-]+(?:;[a-z0-9-]+)*) *, *Signature=([0-9a-f]{64})$/.exec(
      header,
    ) ?? []
  const [accessKeyId, ...scope] = credential?.split('/') ?? []
  if (!accessKeyId || !signedHeaders || !signature) {
    throw refusal(
      'IncompleteSignatureException',
      "Authorization header requires 'AWS4-HMAC-SHA256' with 'Credential', 'SignedHeaders' and 'Signature'.",
    )
  }
  return { accessKeyId, scope, signedHeaders: signedHeaders.split(';'), signature }
}

/** Returns `x-amz-date` as sent, which the signature covers. */
function checkDate(headers: Headers, now: number) {
  const datetime = headers.get('x-amz-date') ?? ''
  const time = Date.parse(datetime.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'))
  if (!/^\d{8}T\d{6}Z$/.test(datetime) || Number.isNaN(time)) {
    throw refusal(
      'IncompleteSignatureException',
      "Authorization header requires existence of an 'X-Amz-Date' header such as 20261122T070405Z.",
    )
  }
  if (time < now - allowedSkewMs) throw invalid(`Signature expired: ${datetime} is more than 5 minutes ago.`)
  if (time > now + allowedSkewMs)
    throw invalid(`Signature not yet current: ${datetime} is more than 5 minutes ahead.`)
  return datetime
}

function checkScope(scope: string[], datetime: string, expected: Expected) {
  const [date, region, service, ending, ...rest] = scope
  if (date !== datetime.slice(0, 8)) throw invalid('Date in Credential scope does not match X-Amz-Date.')
  if (region !== expected.region)
    throw invalid(`Credential should be scoped to a valid region, '${expected.region}'.`)
  if (service !== expected.service)
    throw invalid(`Credential should be scoped to correct service: '${expected.service}'.`)
  if (ending !== 'aws4_request' || rest.length > 0) throw invalid("Credential should end in 'aws4_request'.")
}

/** The signer trusts this header instead of hashing the body, so the header is compared with the bytes. */
async function checkBodyHash(headers: Headers, body: Uint8Array<ArrayBuffer>) {
  const stated = headers.get('x-amz-content-sha256')
  if (stated !== null && stated !== (await sha256(body))) {
    throw invalid('X-Amz-Content-Sha256 is not the SHA-256 of the body.')
  }
}

const refusal = (type: string, message: string) => new ServiceError(403, type, message)
const invalid = (message: string) => refusal('InvalidSignatureException', message)
