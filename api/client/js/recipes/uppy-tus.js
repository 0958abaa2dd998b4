import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import Tus from '@uppy/tus';
import {bucket, getToken} from './signin.js';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';

const uppy = new Uppy()
  .use(Dashboard, {target: '#uploader', inline: true, width: '100%', theme: 'auto', proudlyDisplayPoweredByUppy: false})
  .use(Tus, {
    endpoint: `/api/tus/${bucket}`,
    headers: () => (getToken() ? {Authorization: `Bearer ${getToken()}`} : {}),
  });

uppy.on('complete', ({successful}) => {
  document.getElementById('said').textContent = `Stored: ${successful.map((f) => f.name).join('; ')}`;
});
