import { expect, test } from 'vitest';
import { silentLogger } from '#lib';
import { envoyOutput } from '../../../src/cmd/worker/envoy-output.ts';

test('lines of the log pass; what a crash prints of requests does not, and is counted', () => {
  const said: unknown[] = [];
  const output = envoyOutput('4f1c', { ...silentLogger, warn: (message, fields) => void said.push([message, fields]) });
  for (const line of [
    '4f1c critical backtrace Caught Segmentation fault, suspect faulting address 0x0',
    "  filter_manager_callbacks_.requestHeaders():   ':method', 'GET'",
    "    'authorization', 'Bearer sk-real'",
    'critical backtrace 4f1c sk-real',
    '4f1csk-real',
    '',
  ])
    output.take(line);
  output.end();
  expect(said[0]).toEqual(['envoy', { line: 'critical backtrace Caught Segmentation fault, suspect faulting address 0x0' }]);
  expect(said.slice(1)).toEqual([[expect.stringContaining('withheld'), { lines: 4 }]]);
});
