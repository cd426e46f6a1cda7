"""Make this example's data: the labels of 24 tiles of the quickstart, as "CVAT for images 1.1".

    python specs/annotation_rounds/make_data.py

Twenty tiles to begin training with and four to watch it by; all other tiles are for people to label.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
QUICKSTART = HERE.parent / "quickstart" / "data" / "annotations.xml"
TILES = {f"coins_train_{number:02d}.png" for number in range(20)} | {
    f"coins_val_{number:02d}.png" for number in (0, 5, 10, 15)
}


def main() -> None:
    root = ElementTree.parse(QUICKSTART).getroot()
    for image in root.findall("image"):
        if image.get("name") not in TILES:
            root.remove(image)
    text = ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)
    (HERE / "data" / "annotations.xml").write_text(
        f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n', encoding="utf-8", newline="\n"
    )


if __name__ == "__main__":
    main()
