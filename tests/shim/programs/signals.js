// Signals in Node, one line per thing seen. Run as: node signals.js
'use strict';
const { spawn, spawnSync, fork, exec } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');

const say = (...words) => fs.writeSync(1, words.join(' ') + '\n');
const words = () => fs.readFileSync('/proc/self/status', 'utf8').match(/^Sig(Ign|Blk):\s*\w+/gm).join(' ').replace(/\t/g, '');
const has = (signal) => {
  const caught = BigInt('0x' + fs.readFileSync('/proc/self/status', 'utf8').match(/^SigCgt:\s*(\w+)/m)[1]);
  return (caught >> BigInt(os.constants.signals[signal] - 1)) & 1n ? 'caught' : 'not caught';
};

/** Sends itself a signal and waits for its event. */
async function self(signal) {
  const event = once(process, signal);
  process.kill(process.pid, signal);
  return event;
}

async function handlers() {
  say('--- handlers');
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR2', 'SIGTERM', 'SIGALRM', 'SIGPIPE', 'SIGCHLD', 'SIGWINCH', 'SIGIO']) {
    const [name, number] = await self(signal);
    say(name, number, has(signal));
  }
  say(has('SIGHUP'), words());
  for (const signal of ['SIGKILL', 'SIGSTOP']) {
    try { process.on(signal, () => {}); say(signal, 'can be caught'); } catch (error) { say(signal, error.code); }
  }
  try { process.kill(process.pid, 'SIGNONE'); } catch (error) { say(error.code); }
  try { process.kill(999999999, 'SIGTERM'); } catch (error) { say(error.code); }
  say(process.kill(process.pid, 0));
  let seen = 0;
  process.on('SIGUSR2', () => seen++);
  for (let round = 0; round < 200; round++) await self('SIGUSR2');
  say('seen', seen, has('SIGUSR2'));
  process.removeAllListeners('SIGUSR2');
}

async function children() {
  say('--- children');
  for (const signal of ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGABRT', 'SIGFPE', 'SIGKILL', 'SIGUSR1', 'SIGSEGV', 'SIGPIPE', 'SIGTERM', 'SIGSYS']) {
    const child = spawn('sh', ['-c', 'ulimit -c 0; echo ready; exec sleep 1000'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    say(signal, child.kill(signal), ...(await once(child, 'exit')).map(String), child.killed);
  }
  const both = spawnSync('sh', ['-c', 'echo out; kill -TERM $$']);
  say(both.status, both.signal, String(both.stdout).trim());
  const late = spawnSync('sleep', ['1000'], { timeout: 20, killSignal: 'SIGUSR2' });
  say(late.status, late.signal, late.error.code);
  say(String(spawnSync('grep', ['-E', '^Sig(Blk|Ign|Cgt)', '/proc/self/status']).stdout).replace(/\s+/g, ' '));
  const many = Array.from({ length: 20 }, (_, code) => once(spawn('sh', ['-c', `exit ${code}`]), 'exit'));
  say((await Promise.all(many)).map(([code]) => code).join(' '));
  const controller = new AbortController();
  const aborted = spawn('sleep', ['1000'], { signal: controller.signal });
  const event = (name) => new Promise((resolve) => aborted.on(name, (...values) => resolve(values)));
  const ends = Promise.all([event('error'), event('exit')]);
  controller.abort();
  const [[error], [code, signal]] = await ends;
  say(error.name, code, signal);
}

async function itself() {
  say('--- how node itself ends');
  const ends = {
    'default TERM': `process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 1e6)`,
    'default INT': `process.kill(process.pid, 'SIGINT'); setTimeout(() => {}, 1e6)`,
    'handled TERM': `process.on('SIGTERM', () => process.exit(5)); process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 1e6)`,
    'exit event': `process.on('exit', (code) => console.log('exit event', code)); process.exitCode = 9`,
    'abort': `process.abort()`,
    'uncaught': `process.on('exit', (code) => console.log('exit event', code)); setImmediate(() => { throw 1 })`,
    'removed handler': `const f = () => {}; process.on('SIGHUP', f); process.off('SIGHUP', f); process.kill(process.pid, 'SIGHUP'); setTimeout(() => {}, 1e6)`,
    'once, then default': `process.once('SIGUSR2', () => process.kill(process.pid, 'SIGUSR2')); process.kill(process.pid, 'SIGUSR2'); setTimeout(() => {}, 1e6)`,
    'stack overflow': `const f = () => f(); try { f() } catch (e) { console.log(e.name) }`,
    'wasm trap': `const code = new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,3,2,1,0,5,3,1,0,1,7,5,1,1,102,0,0,10,10,1,8,0,65,112,40,2,0,26,11]); const f = new WebAssembly.Instance(new WebAssembly.Module(code)).exports.f; for (let i = 0; i < 3; i++) { try { f(); console.log('no trap') } catch (e) { console.log(e.message) } }`,
    'worker': `const { Worker } = require('worker_threads'); new Worker('process.exit(4)', { eval: true }).on('exit', (code) => { console.log('worker', code); process.kill(process.pid, 'SIGTERM') }); process.on('SIGTERM', () => process.exit(6))`,
  };
  for (const [name, code] of Object.entries(ends)) {
    const { status, signal, stdout } = spawnSync('sh', ['-c', 'ulimit -c 0; exec "$0" -e "$1"', process.execPath, code]);
    say(name + ':', status, signal, String(stdout).trim().replace(/\n/g, ' | '));
  }
}

// A listener for a signal does not keep the event loop alive.
setInterval(() => {}, 1e6);

(async () => {
  await handlers();
  await children();
  await itself();
  process.on('SIGTERM', () => { say('TERM'); process.exit(23); });
  process.on('exit', (code) => say('exit', code));
  process.kill(process.pid, 'SIGTERM');
  setTimeout(() => say('not reached'), 1e6);
})();
