//go:build tools

package rivals

import _ "github.com/transparency-dev/tessera/cmd/fsck"
