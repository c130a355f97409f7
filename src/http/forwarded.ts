/** The `Forwarded` header (RFC 7239). */

/**
 * Elements of a list, the last one first. Read from the right, since proxies append: an open quote in what a
 * client wrote itself must not swallow what they have added.
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

/** Whether an odd number of backslashes stands before the place. */
function isEscaped(text: string, place: number): boolean {
  let before = place
  while (text[before - 1] === '\\') before--
  return (place - before) % 2 === 1
}

/** Values without quotes may have what a token may not, such as the colon of a port: proxies write that. */
const pair = /[ \t]*([\w!#$%&'*+.^`|~-]+)=([^\s;,"]+|"(?:[^"\\]|\\.)*")[ \t]*(?:;|$)/y

/**
 * The node that an element's `for` names, without a port that is no number (`:_hidden`); undefined without
 * one, or when the element is not well-formed.
 */
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
