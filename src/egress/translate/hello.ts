import { extension, type Json } from './envoy.ts';
import { HELLO_WASM } from './wasm/gen/hello.ts';

/** What `helloGuard` found, for access logs: `Clear`, or why it closed the connection; nothing before it has found something. */
export const HELLO_FINDING = 'FILTER_STATE(wasm.clrk.hello:PLAIN)';

/** Bytes a TCP proxy behind `helloGuard` has to take before it has dialled; without it, it reads nothing before. */
export const EARLY_BYTES = 65_536;

/**
 * Closes a TLS connection whose ClientHello hides a server name or is not well formed, before anything is dialled: Envoy's TLS
 * inspector shows the outer name alone. `wasm/hello.wat` is what it runs. When the machine of it fails, its connections are
 * closed and the next one gets a new machine; one that cannot be loaded is a listener that Envoy does not take.
 */
export const helloGuard = (): Json =>
  extension('hello', 'envoy.extensions.filters.network.wasm.v3.Wasm', {
    config: {
      name: 'hello',
      failure_policy: 'FAIL_RELOAD',
      vm_config: { vm_id: 'hello', runtime: 'envoy.wasm.runtime.v8', code: { local: { inline_bytes: HELLO_WASM } } },
    },
  });
