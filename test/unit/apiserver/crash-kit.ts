import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { exited, READY_STDIO, readyReport, spawnChild } from '#lib';
import { createAuthority, loadSigner } from '#lib/x509';

/** An API server in a process of its own that can be killed and started again on what it left. */
export class CrashServer implements AsyncDisposable {
  readonly dir: string;
  /** Of an administrator. */
  readonly tls: { readonly ca: string; readonly cert: string; readonly key: string };
  #child: ChildProcess | undefined;

  private constructor(dir: string, tls: CrashServer['tls']) {
    this.dir = dir;
    this.tls = tls;
  }

  static async make(): Promise<CrashServer> {
    const dir = mkdtempSync(join(tmpdir(), 'clrk-crash-'));
    const validity = { notBefore: new Date(Date.now() - 1e6), notAfter: new Date(Date.now() + 1e7) };
    const authority = await createAuthority({ subject: 'CN=test', ca: { pathLength: 0 }, ...validity });
    const signer = await loadSigner(authority);
    const server = await signer.issue({ subject: 'CN=apiserver', usage: 'server', ips: ['127.0.0.1'], ...validity });
    const client = await signer.issue({ subject: 'CN=admin, O=system:masters', usage: 'client', ...validity });
    for (const [name, text] of Object.entries({ ca: authority.certPem, cert: server.certPem, key: server.keyPem }))
      writeFileSync(join(dir, `${name}.pem`), text);
    return new CrashServer(dir, { ca: authority.certPem, cert: client.certPem, key: client.keyPem });
  }

  /** Resolves with its URL when it is ready. */
  async start(): Promise<string> {
    const child = spawnChild(process.execPath, [join(import.meta.dirname, 'crash-server.ts'), this.dir], { stdio: READY_STDIO });
    this.#child = child;
    const report = await Promise.race([readyReport(child), exited(child).then((exit) => ({ exit }))]);
    expect(report).toHaveProperty('port');
    return `https://127.0.0.1:${(report as { port: number }).port}`;
  }

  kill(signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#child?.kill(signal);
  }

  /** Resolves when its process has ended. */
  async gone(): Promise<void> {
    if (this.#child) await exited(this.#child);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill('SIGKILL');
    await this.gone();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
