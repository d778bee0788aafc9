import type { Case } from '../case.ts';
import dns from './dns.ts';
import domainFronting from './domain-fronting.ts';
import identityMismatch from './identity-mismatch.ts';
import otherProtocols from './other-protocols.ts';
import parserDifferentials from './parser-differentials.ts';
import paths from './paths.ts';
import smuggling from './smuggling.ts';

/** The table. */
export const CASES: readonly Case[] = [...identityMismatch, ...domainFronting, ...parserDifferentials, ...dns, ...otherProtocols, ...smuggling, ...paths];

/** What clrk has beyond its first features; cases that need more are left out. */
export const BUILT: ReadonlySet<string> = new Set([]);
