import * as FilePond from 'filepond';
import {Client} from '@cairn-store/client';
import {bucket, getToken} from './signin.js';
import 'filepond/dist/filepond.min.css';

const client = new Client({getToken});
const say = (text) => (document.getElementById('said').textContent = text);

const pond = FilePond.create(document.getElementById('files'), {
  name: 'files',
  credits: false,
  server: {
    process(field, file, metadata, load, error, progress, abort) {
      const stop = new AbortController();
      client.upload(bucket, file, {signal: stop.signal, onProgress: (p) => progress(true, p.done, p.size)})
        .then((stored) => load(stored.id), (err) => stop.signal.aborted || error(err.message));
      return {abort: () => {
        stop.abort();
        abort();
      }};
    },
    // What was uploaded a moment ago and is not wanted goes for good, and what was there before goes to the trash.
    revert: (id, load, error) => void client.delete(bucket, id, {permanent: true}).then(load, (err) => error(err.message)),
    remove: (id, load, error) => void client.delete(bucket, id).then(load, (err) => error(err.message)),
    load(id, load, error, progress, abort) {
      const stop = new AbortController();
      const get = async () => {
        const [{name, mime_type: type}, {stream}] = await Promise.all([client.stat(bucket, id), client.download(bucket, id, {signal: stop.signal})]);
        return new File([await new Response(stream).blob()], name, {type});
      };
      get().then(load, (err) => stop.signal.aborted || error(err.message));
      return {abort: () => {
        stop.abort();
        abort();
      }};
    },
  },
});

const {files} = await client.list(bucket, {limit: 10, order: '-updated'});
pond.addFiles(files.map((f) => ({source: f.id, options: {type: 'local'}})));

// The form sends the IDs of the files, which your server keeps.
document.getElementById('form').onsubmit = (e) => {
  e.preventDefault();
  say(`The form has ${new FormData(e.target).getAll('files').filter((v) => typeof v === 'string' && v !== '').join(', ')}`);
};
