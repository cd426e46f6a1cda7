"""Every section and kind that ships with specrun, in the order in which people read a spec."""

from __future__ import annotations

from specrun.spec.section import Registry, Section

_K = "specrun.kinds"

_SECTIONS = (
    Section(
        "connections",
        {
            "cvat": f"{_K}.connections.cvat:CvatConnection",
            "huggingface": f"{_K}.connections.huggingface:HuggingFaceConnection",
            "llava": f"{_K}.connections.llava:LlavaConnection",
            "comfyui": f"{_K}.connections.comfyui:ComfyConnection",
            "replicate": f"{_K}.connections.replicate:ReplicateConnection",
        },
        nodes=False,
        title="Servers, and the accounts that ask them.",
    ),
    Section(
        "taxonomies",
        {"taxonomy": f"{_K}.declarations.taxonomy:Taxonomy"},
        default="taxonomy",
        nodes=False,
        title="Classes: which there are, which are merged and which are dropped.",
    ),
    Section(
        "skeletons",
        {"skeleton": f"{_K}.declarations.skeleton:Skeleton"},
        default="skeleton",
        nodes=False,
        title="Keypoint layouts: points, edges and flips.",
    ),
    Section(
        "sources",
        {
            "images": f"{_K}.sources.images:Images",
            "annotations": f"{_K}.sources.annotations:Annotations",
            "cvat": f"{_K}.sources.cvat:CvatSource",
            "video": f"{_K}.sources.video:Video",
            "huggingface": f"{_K}.sources.huggingface:HuggingFaceSource",
        },
        title="Raw material: fetched or found, never altered.",
    ),
    Section(
        "datasets",
        {"dataset": f"{_K}.datasets.dataset:Dataset"},
        default="dataset",
        title="Persistent FiftyOne datasets.",
    ),
    Section(
        "exports",
        {
            "yolo": f"{_K}.exports.yolo:Yolo",
            "mmseg": f"{_K}.exports.mmseg:MMSeg",
            "coco": f"{_K}.exports.coco:Coco",
            "image_classification": f"{_K}.exports.image_classification:ImageClassification",
            "fiftyone": f"{_K}.exports.fiftyone:FiftyOneExport",
            "cvat": f"{_K}.exports.cvat:CvatExport",
        },
        title="Training formats written from a dataset.",
    ),
    Section(
        "cvat_projects",
        {"cvat_project": f"{_K}.cvat_projects:CvatProject"},
        default="cvat_project",
        title="Annotation work that specrun makes in CVAT.",
    ),
    Section(
        "models",
        {"ultralytics": f"{_K}.models.ultralytics:Ultralytics", "smp": f"{_K}.models.smp:Smp"},
        title="Trained or given models.",
    ),
    Section(
        "lora_jobs",
        {"lora": f"{_K}.lora_jobs.lora:LoraJob"},
        default="lora",
        title="LoRA weights learnt from images and captions.",
    ),
    Section(
        "generations",
        {"generation": f"{_K}.generations.generation:Generation"},
        default="generation",
        title="Pictures made with a base model and LoRA weights.",
    ),
    Section(
        "predictions",
        {"prediction": f"{_K}.predictions.prediction:Prediction"},
        default="prediction",
        title="A model's answers, into a dataset and into files.",
    ),
    Section(
        "evaluations",
        {"evaluation": f"{_K}.evaluations.evaluation:Evaluation"},
        default="evaluation",
        title="Predictions held against the ground truth.",
    ),
    Section(
        "publications",
        {"huggingface": f"{_K}.publications.publication:Publication"},
        title="What was made, on the Hugging Face Hub.",
    ),
    Section(
        "steps",
        {"step": f"{_K}.steps.step:Step"},
        default="step",
        title="Any other program as a node.",
        late=frozenset({"inputs", "outputs", "staging", "output", "seed", "project"}),
    ),
)

REGISTRY: Registry = {section.name: section for section in _SECTIONS}
