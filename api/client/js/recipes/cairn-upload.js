// An uploader for Uppy that sends only what the server does not have: uppy.use(CairnUpload, {client, bucket}).
import {BasePlugin, EventManager} from '@uppy/core';
import {filterFilesToEmitUploadStarted, filterFilesToUpload} from '@uppy/core/utils';

export class CairnUpload extends BasePlugin {
  /** Options: client, bucket, options (of client.upload, for all files), limit (uploads side by side). */
  constructor(uppy, options) {
    super(uppy, {limit: 3, ...options});
    this.type = 'uploader';
    this.id = options.id ?? 'CairnUpload';
  }

  install() {
    this.capable(true);
    this.uppy.addUploader(this.upload);
  }

  uninstall() {
    this.capable(false);
    this.uppy.removeUploader(this.upload);
  }

  capable(resumableUploads) {
    this.uppy.setState({capabilities: {...this.uppy.getState().capabilities, resumableUploads}});
  }

  upload = async (ids) => {
    const files = filterFilesToUpload(this.uppy.getFilesByIds(ids));
    this.uppy.emit('upload-start', filterFilesToEmitUploadStarted(files));
    const next = files.values();
    const send = async () => {
      for (const file of next) await this.send(file);
    };
    await Promise.all(Array.from({length: this.opts.limit}, send));
  };

  // send uploads one file. Where it is paused the upload is aborted; made again, it sends the rest.
  async send({id}) {
    const {client, bucket, options} = this.opts;
    const events = new EventManager(this.uppy);
    let stop = new AbortController(), paused = this.uppy.getFile(id)?.isPaused ?? false, gone = !this.uppy.getFile(id), changed = () => {};
    const set = (isPaused, isGone = false) => {
      paused = isPaused;
      gone ||= isGone;
      if (paused || gone) stop.abort();
      changed();
    };
    events.onPause(id, set);
    events.onPauseAll(id, () => set(true));
    events.onResumeAll(id, () => set(false));
    events.onFileRemove(id, () => set(false, true));
    events.onCancelAll(id, () => set(false, true));
    let upload;
    try {
      while (!gone) {
        if (paused) {
          await new Promise((resolve) => (changed = resolve));
          continue;
        }
        stop = new AbortController();
        const file = this.uppy.getFile(id);
        const folder = file.meta.relativePath?.split('/').slice(0, -1).join('/');
        try {
          const stored = await client.upload(bucket, file.data, {
            name: file.meta.name,
            folder: folder || undefined,
            mimeType: file.type,
            ...options,
            signal: stop.signal,
            onProgress: (p) => {
              upload = p.upload ?? upload;
              const now = this.uppy.getFile(id);
              if (now) this.uppy.emit('upload-progress', now, {uploadStarted: now.progress.uploadStarted ?? 0, bytesUploaded: p.done, bytesTotal: p.size});
            },
          });
          this.uppy.emit('upload-success', this.uppy.getFile(id), {status: 201, uploadURL: stored.links.view, body: stored});
          return;
        } catch (err) {
          if (stop.signal.aborted) continue;
          this.uppy.emit('upload-error', this.uppy.getFile(id), err);
          return;
        }
      }
      if (upload) await client.dropUpload(bucket, upload).catch(() => {}); // it goes by itself after a day
    } finally {
      events.remove();
    }
  }
}
