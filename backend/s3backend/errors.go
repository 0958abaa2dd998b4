package s3backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/cairn-store/cairn/backend"
)

// A failure is the error of a request that is not repeated any more. It wraps
// only the kind; the cause is text, so that an errno of the network, for
// instance, is not taken for an error of the store.
type failure struct {
	kind  error
	cause error
}

func (f *failure) Error() string {
	text := fmt.Sprintf("%v: %v", f.kind, f.cause)
	if hint := findHint(f.cause); hint != "" {
		text += "; " + hint
	}
	return text
}
func (f *failure) Unwrap() error { return f.kind }

func wrapError(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("s3backend: %s %s: %w", op, key, err)
}

// errShort reports an answer that ended early or is not of the range asked for.
var errShort = errors.New("the answer is not what was asked for")

// errBroken reports that too many answers to one reader broke off.
var errBroken = errors.New("answers broke off again and again")

// statusOf returns the code and HTTP status that the service answered with.
func statusOf(err error) (code string, status int) {
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) {
		status = answer.HTTPStatusCode()
	}
	return code, status
}

// findHint says which setting mends what the service complains of, "" if none is
// known to.
func findHint(err error) string {
	code, status := statusOf(err)
	switch code {
	case "NoSuchBucket":
		return "make the bucket, or correct bucket"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "correct access_key_id and secret_access_key"
	case "AccessDenied", "Forbidden":
		return "let the key read, write, list and delete objects and multipart uploads of the bucket"
	case "InvalidStorageClass", "InvalidObjectState":
		return "correct storage_class: packs must be readable at once"
	case "RequestTimeTooSkewed":
		return "set this machine's clock"
	case "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "correct region"
	}
	if status == 301 || status == 307 || status == 308 {
		hint := "correct endpoint, region and force_path_style"
		var answer *awshttp.ResponseError
		if errors.As(err, &answer) {
			if to := answer.Response.Header.Get("Location"); to != "" {
				hint += fmt.Sprintf(": the service sends requests on to %.200q", to)
			}
		}
		return hint
	}
	return ""
}

// kindOf returns the error that callers of the package can test for.
func kindOf(err error) error {
	code, status := statusOf(err)
	switch code {
	case "NoSuchKey", "NotFound":
		return fs.ErrNotExist
	case "PreconditionFailed":
		return fs.ErrExist
	case "InvalidRange":
		return io.ErrUnexpectedEOF
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return backend.ErrNoSpace
	}
	switch status {
	case 412:
		return fs.ErrExist
	case 416:
		return io.ErrUnexpectedEOF
	case 507:
		return backend.ErrNoSpace
	}
	return backend.ErrUnavailable
}

// isFinal reports whether repeating the request cannot help, because the service
// has understood and refused it.
func isFinal(err error) bool {
	if errors.Is(err, errBroken) {
		return true
	}
	code, status := statusOf(err)
	switch code {
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests",
		"RequestTimeout", "RequestTimeTooSkewed", "OperationAborted", "ConditionalRequestConflict",
		"IncompleteBody", "InternalError":
		return false
	case "SignatureDoesNotMatch":
		return true
	}
	if isWrongBytes(err) {
		return false
	}
	switch status {
	case 0, 200, 206, 408, 409, 425, 429: // no answer, one that was cut off, or not yet
		return false
	case 501, 507:
		return true
	}
	return status < 500
}

// withRetries makes a request, and repeats it while that may help and neither
// Attempts nor RetryFor is used up. Its error is a *failure, or that of ctx.
func (b *Backend) withRetries(ctx context.Context, request func() error) error {
	begun := time.Now()
	backoff := retry.NewExponentialJitterBackoff(b.opts.Backoff)
	renewed := false
	for n := 0; ; n++ {
		err := request()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !renewed && (b.renewCredentials(err) || isSkewed(err)) {
			renewed = true
			continue
		}
		if isFinal(err) || n+1 >= b.opts.Attempts || time.Since(begun) >= b.opts.RetryFor {
			return &failure{kindOf(err), err}
		}
		delay, derr := backoff.BackoffDelay(n, err)
		if derr != nil {
			return &failure{kindOf(err), err}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(delay, b.opts.RetryFor)):
		}
	}
}

// isSkewed reports whether the service may have refused a request for the time at
// which it was signed. The SDK signs the next one by the service's clock.
func isSkewed(err error) bool {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() != 403 {
		return false
	}
	at, perr := http.ParseTime(answer.Response.Header.Get("Date"))
	return perr == nil && time.Since(at).Abs() > mostSkew
}

// renewCredentials drops cached credentials if err says that they have expired.
// It reports whether there may be new ones.
func (b *Backend) renewCredentials(err error) bool {
	switch code, _ := statusOf(err); code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired":
	default:
		return false
	}
	cache, ok := b.creds.(interface{ Invalidate() })
	if ok {
		cache.Invalidate()
	}
	return ok
}
