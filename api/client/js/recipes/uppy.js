import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import {Client} from '@cairn-store/client';
import {CairnUpload} from './cairn-upload.js';
import {bucket, getToken} from './signin.js';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';

const client = new Client({getToken});
const uppy = new Uppy()
  .use(Dashboard, {target: '#uploader', inline: true, width: '100%', fileManagerSelectionType: 'both', theme: 'auto', proudlyDisplayPoweredByUppy: false})
  .use(CairnUpload, {client, bucket, options: {onConflict: 'version'}});

uppy.on('complete', ({successful}) => {
  const list = successful.map((f) => f.response.body);
  document.getElementById('said').textContent = `Stored: ${list.map((f) => `${f.path}, version ${f.version}`).join('; ')}`;
});
