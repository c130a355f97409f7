/** The rule of HTML's <input type="email">, which also takes addresses that RFC 5322 would have quoted. */

/** https://html.spec.whatwg.org/multipage/input.html#valid-e-mail-address */
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?'
const address = new RegExp(`^[a-zA-Z0-9.!#$%&'*+/=?^_\`{|}~-]+@${label}(?:\\.${label})*$`)
/** In characters (RFC 1035), of the converted name. */
const maximumDomainLength = 253

export function isEmailAddress(text: string): boolean {
  const [local, domain, ...rest] = text.split('@')
  if (domain === undefined || rest.length > 0) return false
  const ascii = asciiDomain(domain)
  return ascii.length <= maximumDomainLength && address.test(`${local}@${ascii}`)
}

/** Hyphens at an end of a label, or third and fourth in a label that is not converted yet. */
const misplacedHyphen = /(?:^|[.。])(?:-|(?!xn--)[^.。]{2}--)|-(?:[.。]|$)/i

/** Converts an internationalised name as browsers do; empty for a name that they refuse. */
function asciiDomain(domain: string): string {
  const ascii = domain.replace(/\P{ASCII}/gu, '')
  if (ascii === domain) return domain
  // A URL parser would take other ASCII characters for the end of the name, or for an escape.
  if (/[^a-zA-Z0-9.-]/.test(ascii) || misplacedHyphen.test(domain.normalize('NFKC'))) return ''
  // The added label keeps a number at the end of the name from being read as an IPv4 address.
  const url = `http://${domain}.a`
  return URL.canParse(url) ? new URL(url).hostname.slice(0, -2) : ''
}
