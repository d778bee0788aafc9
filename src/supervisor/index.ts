// supervisor: consumes a state directory and flags; produces a running stack (and the machine set up for it).
// Owns: setup of tools, keys, run directory, lock, child processes in start order, dev.json, kubeconfig.host.
// Heavy dependency owned here: @peculiar/x509 (the API's CA and client certificates).
export { APP } from './app.ts';
export { doctor, type Part } from './doctor.ts';
export * from './lab.ts';
export * from './lock.ts';
export * from './pki.ts';
export { enterPrivateMounts } from './place.ts';
export * from './render-log.ts';
export * from './setup.ts';
export * from './stack.ts';
