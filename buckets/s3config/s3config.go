// Package s3config makes drivers of what alyx.yml says of backends of type s3. It
// is apart from package buckets/local so that a program which does not import it
// links nothing of S3: pass Driver where local.Drivers or cairn.Options ask for S3.
package s3config

import (
	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets/schema"
)

// Driver returns the driver of a backend in S3 that the keys c describe.
func Driver(c *schema.S3) backend.Driver {
	return s3backend.Driver{Options: s3backend.Options{Bucket: c.Bucket, Prefix: c.Prefix, Endpoint: c.Endpoint, Region: c.Region,
		PathStyle: c.ForcePathStyle, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		StorageClass: c.StorageClass, SSE: c.SSE, KMSKeyID: c.KMSKeyID, Checksums: c.Checksums, ReadBack: c.ReadBack,
		SingleWriter: c.SingleWriter}}
}
