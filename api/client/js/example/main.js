import {Client} from '@cairn-store/client';

// Vite hands /api on to the server, so the page and the API are of one origin.
const client = new Client();
const bucket = 'demo';
const $ = (id) => document.getElementById(id);
const bytes = (n) => new Intl.NumberFormat('en', {style: 'unit', unit: 'megabyte', maximumFractionDigits: 1}).format(n / 1e6);

let stop;

$('abort').onclick = () => stop?.abort();
$('upload').onclick = async () => {
  const file = $('file').files[0];
  if (!file) return;
  stop = new AbortController();
  $('upload').disabled = true;
  $('abort').disabled = false;
  try {
    const stored = await client.upload(bucket, file, {
      fileId: $('as').value || undefined,
      signal: stop.signal,
      onProgress(p) {
        $('bar').value = p.size ? (p.scanned + p.sent) / (p.size + p.missing) : 1;
        $('status').textContent = `${p.phase}: read ${bytes(p.scanned)} of ${bytes(p.size)}, sent ${bytes(p.sent)} of ${bytes(p.missing)} that were missing`;
      },
    });
    $('status').textContent += ` – stored ${stored.name}, version ${stored.version}`;
  } catch (err) {
    $('status').textContent = stop.signal.aborted ? 'aborted: choose the same file again, and only the rest is sent' : err.message;
  } finally {
    $('upload').disabled = false;
    $('abort').disabled = true;
  }
  await show();
};

async function show() {
  const rows = [];
  const choices = [$('as').options[0]];
  for await (const f of client.files(bucket)) {
    const row = document.createElement('tr');
    const link = document.createElement('a');
    link.href = f.links.download;
    link.textContent = f.path;
    const remove = document.createElement('button');
    remove.textContent = 'Delete';
    remove.onclick = async () => {
      await client.delete(bucket, f.id);
      await show();
    };
    for (const content of [link, bytes(f.size), String(f.version), remove]) {
      const cell = document.createElement('td');
      cell.append(content);
      row.append(cell);
    }
    rows.push(row);
    choices.push(new Option(f.path, f.id));
  }
  $('files').replaceChildren(...rows);
  $('as').replaceChildren(...choices);
}

await show();
