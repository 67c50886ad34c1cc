#!/usr/bin/env bash
# `make quickstart`: from a bare machine to a trained BERT that fills a mask. Safe to run again; FRESH=1 trains anew.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
exec python3 scripts/quickstart.py --setup-seconds "$SECONDS" ${FRESH:+--fresh}
