/** What clrk has beyond its first features; cases that need more are left out. */
export const BUILT: ReadonlySet<'l4'> = new Set(['l4']);
