/** The path of `name` below `path`: `spec.rules[0].matches`. */
export const below = (path: string, name: string): string => (path ? `${path}.${name}` : name);
