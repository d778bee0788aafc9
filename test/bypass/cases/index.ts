import type { Case } from '../case.ts';
import budgets from './budgets.ts';
import ca from './ca.ts';
import connectionReuse from './connection-reuse.ts';
import credentials from './credentials.ts';
import dns from './dns.ts';
import domainFronting from './domain-fronting.ts';
import identityMismatch from './identity-mismatch.ts';
import l4Names from './l4-names.ts';
import l4Policy from './l4-policy.ts';
import l4Protocols from './l4-protocols.ts';
import l4Rebinding from './l4-rebinding.ts';
import llm from './llm.ts';
import machinery from './machinery.ts';
import mcp from './mcp.ts';
import mcpTransport from './mcp-transport.ts';
import neighbours from './neighbours.ts';
import otherProtocols from './other-protocols.ts';
import parserDifferentials from './parser-differentials.ts';
import paths from './paths.ts';
import smuggling from './smuggling.ts';
import spoofing from './spoofing.ts';
import throughAllowed from './through-allowed.ts';
import tunnels from './tunnels.ts';

/** The table. */
export const CASES: readonly Case[] = [
  ...identityMismatch,
  ...domainFronting,
  ...parserDifferentials,
  ...dns,
  ...otherProtocols,
  ...tunnels,
  ...connectionReuse,
  ...smuggling,
  ...paths,
  ...credentials,
  ...ca,
  ...budgets,
  ...mcp,
  ...mcpTransport,
  ...spoofing,
  ...neighbours,
  ...throughAllowed,
  ...llm,
  ...machinery,
  ...l4Rebinding,
  ...l4Protocols,
  ...l4Names,
  ...l4Policy,
];
