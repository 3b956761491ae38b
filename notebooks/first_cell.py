# Finds csd_edu. On Colab it installs what is missing there, elsewhere it installs nothing.
import importlib.util
import subprocess
import sys
from pathlib import Path

REPOSITORY = ""  # the kit's address on GitHub; `make colab REPO=https://github.com/…` fills it in, in all notebooks


def missing(module):
    spec = importlib.util.find_spec(module)
    return spec is None or spec.origin is None  # a mere folder of that name has no origin


advice = "Open this notebook with `make lab` in a checkout of the kit, or run `pip install -e '.[lab]'` there first."
for folder in (Path.cwd(), *Path.cwd().parents):
    if missing("csd_edu") and (folder / "csd_edu" / "__init__.py").is_file():
        sys.path.insert(0, str(folder))
if importlib.util.find_spec("google") and not missing("google.colab"):
    wheels = sorted(Path.cwd().glob("csd_edu-*-any.whl"), key=lambda path: path.stat().st_mtime)
    kit = str(wheels[-1]) if wheels else REPOSITORY and f"git+{REPOSITORY}"
    for module, package in {"faiss": "faiss-cpu", "csd_edu": kit}.items():
        if package and missing(module):  # without dependencies: Colab's own torch, numpy and ipywidgets must stay
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", package])
            importlib.invalidate_caches()
    advice = (
        "Write the kit's address on GitHub between the quotes after REPOSITORY in this cell, or upload the wheel that "
        "`make wheel` builds (the folder icon on the left). Then run the cell again."
    )
    if kit:
        advice = f"pip could not install {kit}: is there a network, and is the address right? {advice}"
if missing("csd_edu"):
    raise SystemExit(f"There is no csd_edu here. {advice}")
try:
    from csd_edu import start
except ModuleNotFoundError as error:
    raise SystemExit(
        f"csd_edu needs {error.name}, which is not installed here. In a checkout `make lab` installs it; elsewhere run "
        f"%pip install {error.name}  in a cell. Then run this cell again."
    ) from None
start.check_set_up()
