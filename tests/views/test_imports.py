import subprocess
import sys


def test_views_load_nothing_heavy() -> None:
    code = (
        "import sys, pkgutil, importlib, specrun.views as v\n"
        "for m in pkgutil.iter_modules(v.__path__): importlib.import_module('specrun.views.' + m.name)\n"
        "print(sorted({'textual', 'rich', 'pydantic', 'numpy', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
