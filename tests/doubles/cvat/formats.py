"""The dataset formats of the server, in its order. Whether the double can really write one is exports.py's matter."""

from __future__ import annotations

_2D = "ZIP"
_BOTH = "JSON, ZIP"


def _pairs(text: str, kinds: dict[str, str]) -> dict[str, str]:
    names = [line.strip() for line in text.strip().splitlines()]
    return {name: kinds.get(name, _2D) for name in names}


IMPORTERS = _pairs(
    """
    Generic TSV 1.0
    CamVid 1.0
    Cityscapes 1.0
    COCO 1.0
    COCO Keypoints 1.0
    CVAT 1.1
    Datumaro 1.0
    Datumaro 3D 1.0
    ICDAR Recognition 1.0
    ICDAR Localization 1.0
    ICDAR Segmentation 1.0
    ImageNet 1.0
    KITTI 1.0
    LabelMe 3.0
    LFW 1.0
    Market-1501 1.0
    Segmentation mask 1.1
    MOT 1.1
    MOTS PNG 1.0
    Open Images V6 1.0
    PASCAL VOC 1.1
    Sly Point Cloud Format 1.0
    Kitti Raw Format 1.0
    VGGFace2 1.0
    WiderFace 1.0
    YOLO 1.1
    Ultralytics YOLO Detection 1.0
    Ultralytics YOLO Segmentation 1.0
    Ultralytics YOLO Oriented Bounding Boxes 1.0
    Ultralytics YOLO Pose 1.0
    Ultralytics YOLO Classification 1.0
    """,
    {
        "Generic TSV 1.0": "TSV",
        "COCO 1.0": _BOTH,
        "COCO Keypoints 1.0": _BOTH,
        "CVAT 1.1": "XML, ZIP",
        "Datumaro 1.0": _BOTH,
        "Datumaro 3D 1.0": _BOTH,
        "Kitti Raw Format 1.0": "ZIP, XML",
    },
)
EXPORTERS = _pairs(
    """
    Generic TSV 1.0
    CamVid 1.0
    Cityscapes 1.0
    COCO 1.0
    COCO Keypoints 1.0
    CVAT for video 1.1
    CVAT for images 1.1
    Datumaro 1.0
    Datumaro 3D 1.0
    ICDAR Recognition 1.0
    ICDAR Localization 1.0
    ICDAR Segmentation 1.0
    ImageNet 1.0
    KITTI 1.0
    LabelMe 3.0
    LFW 1.0
    Market-1501 1.0
    Segmentation mask 1.1
    MOT 1.1
    MOTS PNG 1.0
    Open Images V6 1.0
    PASCAL VOC 1.1
    Sly Point Cloud Format 1.0
    Kitti Raw Format 1.0
    VGGFace2 1.0
    WiderFace 1.0
    YOLO 1.1
    Ultralytics YOLO Detection 1.0
    Ultralytics YOLO Detection Track 1.0
    Ultralytics YOLO Oriented Bounding Boxes 1.0
    Ultralytics YOLO Segmentation 1.0
    Ultralytics YOLO Pose 1.0
    Ultralytics YOLO Classification 1.0
    """,
    {"Generic TSV 1.0": "TSV"},
)
_DIMENSIONS = {
    "Generic TSV 1.0": "1d",
    "Datumaro 3D 1.0": "3d",
    "Sly Point Cloud Format 1.0": "3d",
    "Kitti Raw Format 1.0": "3d",
}


def described(formats: dict[str, str]) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "ext": kinds,
            "version": name.rsplit(" ", 1)[1],
            "enabled": True,
            "dimension": _DIMENSIONS.get(name, "2d"),
        }
        for name, kinds in formats.items()
    ]
