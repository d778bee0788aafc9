import type { CommandSpec } from '../command.ts';
import { agentsGetCommand } from './agents-get.ts';
import { agentsDiffCommand } from './agents-diff.ts';
import { agentsHistoryCommand } from './agents-history.ts';
import { agentsInvocationsCommand } from './agents-invocations.ts';
import { agentsListCommand } from './agents-list.ts';
import { agentsLogsCommand } from './agents-logs.ts';
import { agentsRollbackCommand } from './agents-rollback.ts';
import { applyCommand } from './apply.ts';
import { benchCommand } from './bench.ts';
import { budgetsCommand } from './budgets.ts';
import { completionCommand } from './completion.ts';
import { deleteCommand } from './delete.ts';
import { demoCommand, demoStageCommand } from './demo.ts';
import { devCommand } from './dev.ts';
import { diffCommand } from './diff.ts';
import { doctorCommand } from './doctor.ts';
import { egressLogCommand } from './egress-log.ts';
import { explainCommand } from './explain.ts';
import { getCommand } from './get.ts';
import { imageBuildCommand } from './image-build.ts';
import { poolsGetCommand, poolsListCommand } from './pools.ts';
import { runTaskCommand } from './run-task.ts';
import { secretSetCommand } from './secret-set.ts';
import { setupCommand } from './setup.ts';
import { testCommand } from './test.ts';
import { validateCommand } from './validate.ts';
import { waitReadyCommand } from './wait-ready.ts';

/** The command table, in the order of help. */
export const COMMANDS: readonly CommandSpec[] = [
  demoCommand,
  setupCommand,
  doctorCommand,
  devCommand,
  waitReadyCommand,
  applyCommand,
  validateCommand,
  diffCommand,
  deleteCommand,
  getCommand,
  secretSetCommand,
  imageBuildCommand,
  agentsListCommand,
  agentsGetCommand,
  agentsHistoryCommand,
  agentsDiffCommand,
  agentsRollbackCommand,
  agentsInvocationsCommand,
  agentsLogsCommand,
  runTaskCommand,
  poolsListCommand,
  poolsGetCommand,
  egressLogCommand,
  budgetsCommand,
  explainCommand,
  completionCommand,
  testCommand,
  benchCommand,
  demoStageCommand,
];

export const GROUPS: Readonly<Record<string, { readonly summary: string; readonly aliases?: readonly string[] }>> = {
  agents: { summary: 'See agents and their runs, run them, go back to an earlier revision', aliases: ['agent'] },
  pools: { summary: 'See worker pools', aliases: ['pool'] },
  secret: { summary: 'Make Secrets' },
  image: { summary: 'Build agent images' },
  egress: { summary: 'See what left the sandboxes' },
};
