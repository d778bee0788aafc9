// admission: consumes kinds of `api` and documents from outside; produces objects as they are stored, or every way in which they break a rule.
// Owns: decoding, pruning, defaults, validation, CEL rules, what metadata may hold. The API server and `clrk validate` judge by the same functions.
// Heavy dependency owned here: @bufbuild/cel.
export * from './admit.ts';
export * from './cel.ts';
export * from './check-metadata.ts';
export * from './decode-metadata.ts';
export * from './json.ts';
export * from './json-path.ts';
export * from './judge.ts';
export * from './meta.ts';
export * from './structural.ts';
export * from './view.ts';
export * from './yaml.ts';
