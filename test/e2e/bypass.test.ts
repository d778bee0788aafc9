import { defineSuite } from '../bypass/define.ts';

/** A few cases of each kind from the bypass suite; all of it is `./clrk test bypass`. */
defineSuite(({ slice }) => slice === true);
