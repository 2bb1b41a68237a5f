#!/bin/sh
# Makes docs/report.png anew: the first screen of the report that the demo's fourth act left. Run `make demo` first; needs chromium.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build/demo/flights/.mlpipeline/runs}
newest=$(find "$folder" -path '*/report/index.html' | sort | tail -n 1)
[ -n "$newest" ] || { echo "no report under $folder; try: make demo" >&2; exit 2; }
chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,785 --screenshot=docs/report.png "file://$(realpath "$newest")"
