#!/bin/sh
# All checks of the widget: types, built files, sizes, Node, and whichever browsers are there.
# PYTHON names an interpreter that can import mnistc; MNISTC_DATA serves where no CNN is shipped.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

cd "$root/mnistc/widget"
npm ci --no-audit --no-fund --ignore-scripts
npm run check
npm run verify

cd "$root"
node --test tests/widget/node/

MNISTC_SITE=$(mktemp -d)
export MNISTC_SITE
trap 'rm -rf "$MNISTC_SITE"' EXIT
"$python" - <<'PYTHON'
import os, sys
from pathlib import Path
from mnistc import formats, widget

models = None
if not {"cnn", "mlp"} <= set(formats.shipped_names()):
    original = Path(os.environ.get("MNISTC_DATA", "none")) / "original"
    if not original.is_dir():
        sys.exit("no shipped CNN and MLP, and no MNISTC_DATA/original to put in their place")
    models = [formats.load_any(original / name) for name in ("tfjs/model.json", "weights_as_json.json")]
    for model, name in zip(models, ("cnn", "mlp")):
        model.name = name
widget.write_site(os.environ["MNISTC_SITE"], models)
PYTHON
node --test --test-concurrency=1 tests/widget/browser/
