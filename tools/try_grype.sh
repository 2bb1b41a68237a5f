#!/usr/bin/env bash
# Builds the real grype and a database with one advisory of our own, and looks into a packaged image with both, by hand: the build takes
# many minutes, so CI does not. Its own database is a download that not every agent may make; the format is the real one.
#
#   tools/try_grype.sh FOLDER PACKAGE       grype, advise and the database go to FOLDER; PACKAGE, such as joblib, gets a critical advisory
#
# Then, in a project with image.base and `security: {image: {policy: fail, fail_at: critical, not_run: fail}}`:
#
#   PATH=FOLDER:$PATH GRYPE_DB_AUTO_UPDATE=false GRYPE_DB_CACHE_DIR=FOLDER/db mlpipeline package
#
# stops with the advisory, passes with it in security.ignore, and stops as "not run" without the database (another GRYPE_DB_CACHE_DIR), or
# with one that is too old (FOLDER/advise FOLDER/old/6 PACKAGE 30).
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
version=${GRYPE_VERSION:-v0.121.2}
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT
mkdir "$source/advise"
cat >"$source/advise/main.go" <<'END'
// Writes a vulnerability database for grype with one advisory: advise FOLDER PACKAGE DAYS_OLD
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/afero"

	v6 "github.com/anchore/grype/grype/db/v6"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	folder, name := os.Args[1], os.Args[2]
	days, err := strconv.Atoi(os.Args[3])
	must(err)
	must(os.MkdirAll(folder, 0o755))
	built := time.Now().UTC().AddDate(0, 0, -days)
	writer, err := v6.NewWriter(v6.Config{DBDirPath: folder, CacheSizeKiB: 1024})
	must(err)
	must(writer.SetDBMetadata())
	provider := v6.Provider{ID: "github", Version: "1", DateCaptured: &built, InputDigest: "xxh64:0"}
	must(writer.AddProvider(provider))
	vulnerability := &v6.VulnerabilityHandle{
		Name: "GHSA-0000-test-0000", Status: "active", ProviderID: "github",
		BlobValue: &v6.VulnerabilityBlob{
			ID: "GHSA-0000-test-0000", Description: "made for a test",
			Severities: []v6.Severity{{Scheme: "CHML", Value: "critical", Rank: 1}},
		},
	}
	must(writer.AddVulnerabilities(vulnerability))
	must(writer.AddAffectedPackages(&v6.AffectedPackageHandle{
		Vulnerability: vulnerability,
		Package:       &v6.Package{Ecosystem: "python", Name: name},
		BlobValue: &v6.PackageBlob{Ranges: []v6.Range{{
			Version: v6.Version{Type: "python", Constraint: "<999"},
			Fix:     &v6.Fix{Version: "999", State: "fixed"},
		}}},
	}))
	must(writer.Close())
	if days > 0 {
		store, err := v6.NewLowLevelDB(folder+"/"+v6.VulnerabilityDBFileName, false, true, false)
		must(err)
		must(store.Exec("update db_metadata set build_timestamp = ?", built).Error)
	}
	_, err = v6.WriteImportMetadata(afero.NewOsFs(), folder, "made for a test")
	must(err)
}
END
cd "$source"
# A version that grype names but the module proxy no longer has is taken in the one beside it.
cat >go.mod <<END
module grype

require github.com/anchore/grype $version

replace (
	github.com/docker/cli => github.com/docker/cli v29.9.3+incompatible
	github.com/github/go-spdx/v2 => github.com/github/go-spdx/v2 v2.4.0
	github.com/google/pprof => github.com/google/pprof v0.0.0-20260906184651-6331bc6350fe
)
END
go build -mod=mod -ldflags "-X main.version=${version#v}" -o "$folder/grype" github.com/anchore/grype/cmd/grype
go build -mod=mod -o "$folder/advise" ./advise
"$folder/advise" "$folder/db/6" "$2" 0
GRYPE_DB_AUTO_UPDATE=false GRYPE_DB_CACHE_DIR="$folder/db" "$folder/grype" db status
