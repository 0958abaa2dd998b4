// The real server, and a proxy before it that counts and misbehaves.
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {statfsSync} from 'node:fs';
import {access, mkdtemp, rm, writeFile} from 'node:fs/promises';
import http from 'node:http';
import {createHmac} from 'node:crypto';
import net from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {repository} from './inputs.js';

export const binary = process.env.CAIRN_BIN ?? fileURLToPath(new URL('bin/cairn', repository));

async function freePort() {
  const s = net.createServer().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const {port} = s.address();
  s.close();
  await once(s, 'close');
  return port;
}

/** Where stores of tests lie: in memory where there is enough, since nobody pulls the plug here, and disks are slow when others use them. */
export const scratch = (() => {
  try {
    const {bavail, bsize} = statfsSync('/dev/shm');
    return bavail * bsize > 2 ** 30 ? '/dev/shm' : tmpdir();
  } catch {
    return tmpdir();
  }
})();

const secret = 'a secret that is known to tests alone';

/** A token for somebody, good for so many seconds. */
export function token(sub, seconds = 3600) {
  const part = (o) => Buffer.from(JSON.stringify(o)).toString('base64url');
  const now = Math.floor(Date.now() / 1000);
  const said = part({alg: 'HS256', typ: 'JWT'}) + '.' + part({sub, iat: now, exp: now + seconds});
  return said + '.' + createHmac('sha256', secret).update(said).digest('base64url');
}

/**
 * Starts a server in a directory of its own, which lives as long as the test t.
 * With users it takes tokens, pages of the given origins, and a rule for lists; else it is --dev.
 */
export async function serve(t, {users = false, origins = [], list = '', dir} = {}) {
  await access(binary).catch(() => { throw new Error(`${binary} is not there: run make build`); });
  dir ??= await mkdtemp(join(scratch, 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true, force: true, maxRetries: 5}));
  const port = await freePort();
  const args = ['serve', '--addr', `127.0.0.1:${port}`, '--data', join(dir, 'data')];
  if (users) {
    const cors = origins.length ? `\n  cors: {allowed_origins: [${origins.map((o) => JSON.stringify(o)).join(', ')}]}` : '';
    await writeFile(join(dir, 'alyx.yml'), `auth:\n  jwt: {secret: "${secret}", leeway: 0s}\nserver:\n  rate_limit: 0${cors}\nstorage:\n  backends:\n    disk: {type: filesystem, filesystem: {path: ${JSON.stringify(join(dir, 'packs'))}}}\n`);
    await writeFile(join(dir, 'schema.yaml'), `buckets:\n  demo:\n    rules: {create: "true", ${list && `list: '${list}', `}read: auth.id == file.owner, update: auth.id == file.owner, delete: auth.id == file.owner}\n`);
    args.push('--config', join(dir, 'alyx.yml'), '--schema', join(dir, 'schema.yaml'));
  } else {
    args.push('--dev');
  }
  const server = {url: `http://127.0.0.1:${port}`, port, process: undefined, async start() {
    const p = spawn(binary, args, {stdio: ['ignore', 'pipe', 'pipe']});
    server.process = p;
    let log = '';
    p.stderr.on('data', (d) => (log = (log + d).slice(-8192)));
    await new Promise((resolve, reject) => {
      p.stdout.on('data', (d) => String(d).includes('listening') && resolve());
      p.on('exit', (code) => reject(new Error(`cairn serve ended with ${code}: ${log}`)));
    });
  }, async kill(signal = 'SIGKILL') {
    const p = server.process;
    if (p.exitCode !== null || p.signalCode !== null) return;
    p.kill(signal);
    await once(p, 'exit');
  }};
  await server.start();
  t.after(() => server.kill());
  return server;
}

/**
 * Starts a proxy before a server. on(request) may return {status, headers, body}
 * to answer itself, {cut: n} to break the connection after n bytes of the request's body,
 * or {deaf: true} to let the request through and lose the answer. The server is
 * found below a path, which the proxy takes off.
 */
export async function proxy(t, target, on = () => undefined, below = '') {
  const seen = {requests: [], chunkBytes: 0};
  const p = http.createServer((req, res) => {
    const kind = /\/(list|chunks|commit|missing|download|manifest)(\?|$)/.exec(req.url)?.[1] ?? (/_sessions$/.test(req.url) ? 'open' : 'other');
    const r = {kind, method: req.method, url: req.url, headers: req.headers, n: seen.requests.filter((q) => q.kind === kind).length, bytes: 0};
    seen.requests.push(r);
    const act = on(r) ?? {};
    req.on('data', (d) => {
      r.bytes += d.length;
      if (kind === 'chunks') seen.chunkBytes += d.length;
      if (act.cut !== undefined && r.bytes >= act.cut) req.socket.destroy();
    });
    if (act.status) {
      req.resume();
      req.on('end', () => {
        res.writeHead(act.status, act.headers);
        res.end(act.body ?? '');
      });
      return;
    }
    const up = http.request({host: '127.0.0.1', port: target.port, method: req.method, path: req.url.startsWith(below) ? req.url.slice(below.length) : '/none', headers: req.headers}, (answer) => {
      if (act.deaf) {
        answer.resume();
        answer.on('end', () => res.socket?.destroy());
        return;
      }
      res.writeHead(answer.statusCode, answer.headers);
      if (act.cutAnswer === undefined) {
        answer.pipe(res);
        return;
      }
      let sent = 0;
      answer.on('data', (d) => {
        res.write(d.subarray(0, Math.max(0, act.cutAnswer - sent)));
        if ((sent += d.length) >= act.cutAnswer) setTimeout(() => res.destroy(), 20);
      });
      answer.on('end', () => sent < act.cutAnswer && res.end()); // an ended one would keep its connection
    });
    up.on('error', () => res.destroy());
    req.on('error', () => up.destroy());
    req.on('aborted', () => up.destroy());
    req.pipe(up);
  });
  p.listen(0, '127.0.0.1');
  await once(p, 'listening');
  t.after(() => {
    p.closeAllConnections();
    p.close();
  });
  return {url: `http://127.0.0.1:${p.address().port}${below}`, seen, count: (kind) => seen.requests.filter((r) => r.kind === kind).length};
}

/** Reads a download to its end. */
export async function bytesOf({stream}) {
  const parts = [];
  for await (const p of stream) parts.push(p);
  return Buffer.concat(parts);
}
