// The worker's side of an upload or a scan: one task, then it is closed.
import {parent} from '#platform';
import {flatten, unflatten} from './errors.js';
import type {FromWorker, Task, ToWorker} from './line.js';
import {scan} from './scan.js';
import {runSession} from './session.js';
import {openSource} from './source.js';
import {parseSplitter} from './splitter.js';
import {Transport} from './transport.js';

const port = parent();
const say = (message: FromWorker) => port.post(message);
const asked: {resolve: (token?: string) => void; reject: (err: Error) => void}[] = [];

port.listen((message: ToWorker) => {
  if (message.type === 'start') {
    run(message.task).then(
      (done) => say(done),
      (err) => say({type: 'failed', error: flatten(err)}),
    );
    return;
  }
  const first = asked.shift();
  if (message.error) first?.reject(unflatten(message.error));
  else first?.resolve(message.token);
}, () => {});
say({type: 'ready'});

async function run(task: Task): Promise<FromWorker> {
  const source = await openSource(task.content);
  try {
    if (task.kind === 'scan') {
      for await (const {first, offset, bytes} of scan(source, parseSplitter(task.splitter))) say({type: 'list', first, offset, bytes: bytes.slice()});
      return {type: 'done'};
    }
    const getToken = (stale?: string) =>
      new Promise<string | undefined>((resolve, reject) => {
        asked.push({resolve, reject});
        say({type: 'token', stale});
      });
    const transport = new Transport({...task.transport, getToken: task.tokens ? getToken : undefined});
    // Its end is this worker's end: nothing here needs a signal.
    const file = await runSession(transport, source, task.job, {signal: new AbortController().signal, onProgress: (progress) => say({type: 'progress', progress})});
    return {type: 'done', file};
  } finally {
    await source.close?.();
  }
}
