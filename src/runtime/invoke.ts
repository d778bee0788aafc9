import type { ExtraResource } from '#api';
import type { Runs } from '#model';
import { answering } from './failure.ts';

/** Largest request body, in bytes. The dispatcher has the same limit. */
export const MAX_BODY_BYTES = 10 * 1024 * 1024;

/** Headers that mean something to a run; everything else is between the caller and the API server. */
const PASSED = /^(?:ce-.+|content-type|traceparent|tracestate|x-clrk-invocation-id|x-clrk-execution-id)$/;

/** `POST taskagents/NAME/invoke`: runs the agent once and streams its answer, whatever its status. */
export const invokeHandler = (runs: Runs): ExtraResource['handle'] =>
  answering('dispatcher', async ({ namespace, name, headers, body, principal, signal }) => {
    const passed = Object.fromEntries(Object.entries(headers).filter(([header]) => PASSED.test(header)));
    return { stream: await runs.invoke({ namespace, agent: name, headers: passed, body, trigger: 'CLI', source: principal.name }, signal) };
  });
