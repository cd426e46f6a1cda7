"""Write docs/reference.md from the models: python docs/make_reference.py"""

from pathlib import Path

from specrun.kinds.registry import REGISTRY
from specrun.spec.reference_page import reference_page

if __name__ == "__main__":
    (Path(__file__).parent / "reference.md").write_text(reference_page(REGISTRY), encoding="utf-8")
