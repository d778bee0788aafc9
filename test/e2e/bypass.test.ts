import { BUILT } from '../bypass/clrk/built.ts';
import { defineSuite } from '../bypass/define.ts';

/** A few cases of each kind from the bypass suite; all of it is `./clrk test bypass`. */
defineSuite(({ slice, needs }) => slice === true && (needs === undefined || BUILT.has(needs)));
