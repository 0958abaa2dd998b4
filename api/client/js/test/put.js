// Uploads a file and prints how much has been sent, then the file's ID.
import {Client} from '../dist/index.js';

const [server, path] = process.argv.slice(2);
const file = await new Client({server}).upload('demo', {path}, {onProgress: (p) => console.log(p.sent)});
console.log(file.id);
