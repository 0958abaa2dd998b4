// Files that were dropped or chosen, with the folders that they lie in.

/** The files of an input. A chosen folder tells paths. */
export function ofInput(input) {
  return Array.from(input.files, (file) => ({file, folder: file.webkitRelativePath.split('/').slice(0, -1).join('/')}));
}

/** The files that were dropped, of folders those in them too. It has to be called while the event is handled. */
export async function ofDrop(transfer) {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return Array.from(transfer.files, (file) => ({file, folder: ''}));
  const found = [];
  for (const entry of entries) await walk(entry, '', found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    found.push({file: await new Promise((resolve, reject) => entry.file(resolve, reject)), folder});
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // It tells a hundred at a time, and none at the end.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const child of some) await walk(child, folder ? `${folder}/${entry.name}` : entry.name, found);
  }
}
