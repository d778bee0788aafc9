import { BUILT } from './cases/index.ts';
import { defineSuite } from './define.ts';

/** The whole table against clrk: `./clrk test bypass`. */
defineSuite(({ needs }) => needs === undefined || BUILT.has(needs));
