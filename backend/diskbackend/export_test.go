package diskbackend

// OpenOS is the default FS.
var OpenOS = openOS
