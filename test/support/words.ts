/** The words of a text, for long lists of values without spaces. */
export const words = (text: string) => text.trim().split(/\s+/)
