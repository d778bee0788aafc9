import { BUILT } from './clrk/built.ts';
import { defineSuite } from './define.ts';

/** The whole table against clrk: `./clrk test bypass`. */
defineSuite(({ needs }) => needs === undefined || BUILT.has(needs));
