/** The `Forwarded` header (RFC 7239). */

/**
 * Elements of a list, the last one first. Reads from the right, since proxies append: an open quote that a
 * client forged must not swallow what they added.
 */
export function elementsFromRight(list: string): string[] {
  const elements: string[] = []
  let end = list.length
  let quoted = false
  for (let i = list.length - 1; i >= 0; i--) {
    if (list[i] === '"' && !(quoted && isEscaped(list, i))) quoted = !quoted
    else if (list[i] === ',' && !quoted) {
      elements.push(list.slice(i + 1, end))
      end = i
    }
  }
  return [...elements, list.slice(0, end)]
}

/** Whether the character is escaped: an odd number of backslashes stands before it. */
function isEscaped(text: string, place: number): boolean {
  let before = place
  while (text[before - 1] === '\\') before--
  return (place - before) % 2 === 1
}

/** Unquoted values may contain what a token may not, such as the colon of a port: proxies write that. */
const pair = /[ \t]*([\w!#$%&'*+.^`|~-]+)=([^\s;,"]+|"(?:[^"\\]|\\.)*")[ \t]*(?:;|$)/y
/** The node in an element's `for`, without an obfuscated port (`:_hidden`). */
export function forwardedFor(element: string): string | undefined {
  const nodes: string[] = []
  pair.lastIndex = 0
  while (pair.lastIndex < element.length) {
    const [, name, value = ''] = pair.exec(element) ?? []
    if (name === undefined) return undefined
    if (name.toLowerCase() === 'for') nodes.push(value.replace(/^"(.*)"$/s, '$1').replace(/\\(.)/gs, '$1'))
  }
  return nodes.length === 1 ? nodes[0]?.replace(/:_[\w.-]+$/, '') : undefined
}
