import { extension, type Json } from './envoy.ts';
import { HELLO_WASM } from './wasm/gen/hello.ts';

/** What `helloGuard` found, for access logs: `Clear`, or why it closed the connection; nothing before it has found something. */
export const HELLO_FINDING = 'FILTER_STATE(wasm.clrk.hello:PLAIN)';

/**
 * What a TCP proxy behind `helloGuard` needs: it reads before it has dialled (else it reads nothing), and looks for its cluster
 * when the first bytes come (else those that came before the verdict would lie there until others follow them).
 */
export const AFTER_HELLO: Json = { upstream_connect_mode: 'ON_DOWNSTREAM_DATA', max_early_data_bytes: 65_536 };

/**
 * Closes a TLS connection whose ClientHello hides a server name or is not well formed, before anything is dialled: Envoy's TLS
 * inspector shows the outer name alone. `wasm/hello.wat` is what it runs. When the machine of it fails, its connections are
 * closed and the next one gets a new machine; one that cannot be loaded is a listener that Envoy does not take.
 */
export const helloGuard = (module = HELLO_WASM): Json =>
  extension('hello', 'envoy.extensions.filters.network.wasm.v3.Wasm', {
    config: {
      name: 'hello',
      failure_policy: 'FAIL_RELOAD',
      vm_config: { vm_id: 'hello', runtime: 'envoy.wasm.runtime.v8', code: { local: { inline_bytes: module } } },
    },
  });
