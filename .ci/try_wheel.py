"""What an installed wheel must do outside the source tree: run with its Python, no arguments."""

import subprocess
import sys
from pathlib import Path

import numpy as np

import mnistc
from mnistc import Dense, Sequential, _core


def import_seconds(program: str) -> float:
    """CPU seconds of a fresh interpreter, the best of seven: other work does not count."""
    count = "import resource; r = resource.getrusage(resource.RUSAGE_SELF); "
    count += "print(r.ru_utime + r.ru_stime)"
    times = []
    for _ in range(7):
        command = [sys.executable, "-c", f"{program}; {count}"]
        times.append(float(subprocess.run(command, capture_output=True, check=True).stdout))
    return min(times)


package = Path(mnistc.__file__).parent
assert "site-packages" in package.parts, package
assert (package / "formats" / "model.schema.json").is_file()
assert (package / "py.typed").is_file()
extra = import_seconds("import mnistc") - import_seconds("import numpy")
assert extra < 0.15, f"importing mnistc costs {extra:.3f} s beyond NumPy"
x, y = mnistc.datasets.synthetic.generate(500, seed=1)
net = Sequential([Dense(32, "relu"), Dense(10, "softmax")])
net.fit(x, y, epochs=10, verbose=0)
assert net.evaluate(x, y)["accuracy"] > 0.8
net.save("small.json", quantize="int8")
assert np.abs(mnistc.load("small.json").predict(x) - net.predict(x)).max() < 0.2
shipped = sorted(path.stem for path in (package / "weights").glob("*.json"))
for name in shipped:
    assert mnistc.load(name).predict(x[:2]).shape == (2, 10), name
print(f"kernels {_core.available_kernels()}, shipped {shipped}, import + {extra * 1000:.0f} ms")
