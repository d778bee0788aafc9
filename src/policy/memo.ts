/** A function of an immutable object, computed once for each: what follows from a PolicySet is asked for with every name and sandbox. */
export const once = <K extends object, T>(of: (key: K) => T): ((key: K) => T) => {
  const known = new WeakMap<K, { readonly value: T }>();
  return (key) => {
    let found = known.get(key);
    if (!found) known.set(key, (found = { value: of(key) }));
    return found.value;
  };
};
