// How sizes, times and failures are told.
const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

/** 12345678 is 12.3 MB. */
export function bytes(n) {
  let at = 0;
  for (; n >= 999.5 && at < units.length - 1; at++) n /= 1000;
  return new Intl.NumberFormat('en', {style: 'unit', unit: units[at], unitDisplay: at ? 'short' : 'long', maximumFractionDigits: n < 10 && at ? 1 : 0}).format(n).replace(' ', '\u00a0');
}

const count = new Intl.NumberFormat('en');

/** "1 file", "1,200 files". */
export function files(n) {
  return `${count.format(n)} ${n === 1 ? 'file' : 'files'}`;
}

const dates = new Intl.DateTimeFormat('en', {dateStyle: 'medium', timeStyle: 'short'});

/** A date as people write it. */
export function date(s) {
  return dates.format(new Date(s));
}

const reasons = {
  'access-denied': 'You may not do this here.',
  'backend-full': 'The server has no room left.',
  'bucket-disabled': 'This bucket takes no requests now.',
  'bucket-not-found': 'There is no such bucket, or you may not see it.',
  'file-not-found': 'The file is not there any more.',
  'file-referenced': 'Records hold this file, so it cannot be deleted.',
  'file-too-large': 'The file is larger than this bucket takes.',
  'last-version': 'This is the only version.',
  'name-taken': 'Another file has this name.',
  'quota-exceeded': 'There is no room left: the quota is used up.',
  'rate-limited': 'That were many requests. Try again in a moment.',
  'store-read-only': 'The server is read-only now.',
  'too-many-requests': 'That were many requests. Try again in a moment.',
  'too-many-uploads': 'Too many uploads are unfinished. Cancel some.',
  'type-mismatch': 'The content is not of the type that its name says.',
  'type-not-allowed': 'This bucket does not take files of this type.',
};

/** Says in a sentence what went wrong. */
export function plain(err) {
  if (err?.name === 'SourceChangedError') return 'The file changed while it was read. Try again when nothing writes to it.';
  if (err?.name === 'CairnError') {
    if (reasons[err.code]) return reasons[err.code];
    if (err.status === 401) return 'The server asks who you are. Sign in.';
    if (err.status >= 500) return `The server has a problem, and did not do this (${err.code}). Try again later.`;
    return err.message;
  }
  if (err instanceof TypeError || err?.name === 'TimeoutError') return 'The server cannot be reached. Is it running, and are you online?';
  return err?.message ?? String(err);
}
