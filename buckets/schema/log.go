package schema

// Log says what a server logs, and how.
type Log struct {
	Level  LogLevel  `key:"level" doc:"the least that is logged: debug, info, warn, error; a SIGHUP applies it" default:"info"`
	Format LogFormat `key:"format" doc:"of the lines on standard error: text (key=value) or json" default:"text"`
}

// Audit says where the lines of the audit go.
type Audit struct {
	File  string `key:"file" doc:"that gets a line of JSON for each change; - is standard error; without it there is no audit"`
	Names bool   `key:"names" doc:"true writes names and folders of files into it too" default:"false"`
}

// LogLevel is the least that is logged.
type LogLevel string

func (*LogLevel) choices() []string { return LogLevels() }

// LogLevels returns the levels of a log, that with the most lines first.
func LogLevels() []string { return []string{"debug", "info", "warn", "error"} }

// LogFormat is how the lines of a log are written.
type LogFormat string

func (*LogFormat) choices() []string { return LogFormats() }

// LogFormats returns the formats of a log.
func LogFormats() []string { return []string{"text", "json"} }
