"""README.md of a published output: a block of ours between two marks, and metadata on top."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from specrun.model.work import Made

if TYPE_CHECKING:
    from specrun.kinds.publications.spec import PublicationSpec

CARD = "README.md"
BEGIN = "<!-- specrun: begin; text between these marks is written anew -->"
END = "<!-- specrun: end -->"
_FENCE = "---\n"
_PICTURES = 8
_OURS = frozenset({"license", "base_model", "instance_prompt"})
"""What the spec and the output say; other metadata is only added where a card has none."""
_KEY = re.compile(r"([A-Za-z_][\w-]*)\s*:")


def card(spec: PublicationSpec, made: Made, files: Iterable[str]) -> str:
    """Metadata and block for a repository without a card of its own."""
    facts = made.facts
    section = spec.artifact.partition(".")[0]
    metadata = {"license": spec.license, **_metadata(section, facts)}
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in metadata.items() if value]
    body = [f"# {spec.repo.partition('/')[2]}", "", *_body(section, facts, sorted(files))]
    if spec.license:
        body += ["", f"Licence: {spec.license}"]
    top = _FENCE + "\n".join(lines) + "\n" + _FENCE + "\n" if lines else ""
    return f"{top}{BEGIN}\n" + "\n".join(body) + f"\n{END}\n"


def merged(made: str, existing: str | None) -> str:
    """What stands outside of the marks stays, metadata of one's own too; what only we can know of is renewed."""
    if existing is None:
        return made
    text = existing.replace("\r\n", "\n")
    top, block = _split(made)
    theirs, rest = _split(text)
    theirs = _renewed(theirs, top)
    first, begin, after = rest.partition(BEGIN)
    _, end, last = after.partition(END)
    if begin and end:
        return f"{theirs or top}{first}{block.rstrip()}{last}"
    return f"{theirs or top}{rest.rstrip()}\n\n{block}" if rest.strip() else f"{theirs or top}{block}"


def _split(text: str) -> tuple[str, str]:
    """The metadata with its fences and the empty line after it, and the rest."""
    if not text.startswith(_FENCE):
        return "", text
    close = text.find(f"\n{_FENCE}", len(_FENCE) - 1)
    if close < 0:
        return "", text
    end = close + 1 + len(_FENCE)
    end += text[end : end + 1] == "\n"
    return text[:end], text[end:]


def _renewed(theirs: str, ours: str) -> str:
    """Metadata of a card with the keys that it lacks, and new values of those in _OURS."""
    if not theirs or not ours:
        return theirs or ours
    keys = _by_key(theirs)
    for key, lines in _by_key(ours).items():
        if key in _OURS or key not in keys:
            keys[key] = lines
    return _FENCE + "".join(keys.values()) + theirs[theirs.index(f"\n{_FENCE}", len(_FENCE) - 1) + 1 :]


def _by_key(metadata: str) -> dict[str, str]:
    """Top key → its lines, with the indented ones, lists and comments that follow it; "" → what stands before."""
    found: dict[str, str] = {}
    key = ""
    for line in metadata[len(_FENCE) : metadata.index(f"\n{_FENCE}", len(_FENCE) - 1) + 1].splitlines(keepends=True):
        if begun := _KEY.match(line):
            key = begun[1]
        found[key] = found.get(key, "") + line
    return found


def _metadata(section: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    if section == "lora_jobs":
        base = str(facts.get("base_model", ""))
        of_hub = base.count("/") == 1 and not base.startswith((".", "/", "~"))
        return {
            "library_name": "diffusers",
            "pipeline_tag": "text-to-image",
            "base_model": base if of_hub else None,
            "instance_prompt": facts.get("trigger"),
            "tags": ["lora", "diffusers", "text-to-image"],
        }
    if section == "models":
        return {"tags": ["computer-vision", str(facts.get("task") or "image")]}
    return {}


def _body(section: str, facts: Mapping[str, Any], files: list[str]) -> Iterator[str]:
    if section == "lora_jobs":
        yield from _lora(facts, files)
        return
    names = {"task": "Task", "images": "Images", "annotated": "Annotated images", "epochs": "Epochs"}
    for key, title in names.items():
        if facts.get(key) not in (None, "", 0):
            yield f"- {title}: {facts[key]}"
    if facts.get("splits"):
        yield f"- Splits: {', '.join(f'{name} {count}' for name, count in dict(facts['splits']).items())}"
    told = facts.get("labels")
    labels: dict[str, Any] = told if isinstance(told, dict) else {}
    classes = facts.get("classes") or list(labels)
    if classes:
        yield from ("", "## Classes", "", *(_class_line(str(name), labels) for name in classes))
    metrics = facts.get("metrics")
    if isinstance(metrics, dict) and metrics:
        yield from ("", "## Scores", "", "| metric | value |", "|---|---|")
        for name, value in metrics.items():
            yield f"| {_plain(name)} | {value:.4g} |" if isinstance(value, float) else f"| {_plain(name)} | {value} |"


def _class_line(name: str, labels: Mapping[str, Any]) -> str:
    return f"- {_plain(name)}: {labels[name]} labels" if name in labels else f"- {_plain(name)}"


def _lora(facts: Mapping[str, Any], files: list[str]) -> Iterator[str]:
    yield f"LoRA weights for `{facts.get('base_model')}`."
    yield ""
    if facts.get("trigger"):
        yield f"- Trigger word: `{facts['trigger']}`"
    for key, title in {
        "rank": "Rank",
        "alpha": "Alpha",
        "steps": "Steps",
        "validation_loss": "Validation loss",
    }.items():
        if facts.get(key) is not None:
            value = facts[key]
            yield f"- {title}: {value:.4g}" if isinstance(value, float) else f"- {title}: {value}"
    if facts.get("prediction") == "v_prediction":
        snr = ", rescale_betas_zero_snr: true, timestep_spacing: trailing" if facts.get("zero_terminal_snr") else ""
        yield f"- The base model's scheduler must have prediction_type: v_prediction{snr}"
    yield "- `lora.safetensors`: for diffusers and PEFT; `lora_kohya.safetensors`: for ComfyUI and A1111"
    pictures = [path for path in files if path.startswith("samples/") and path.endswith(".png")]
    sheets = [path for path in pictures if path.endswith("contact_sheet.png")]
    chosen = [*sheets, *sorted(set(pictures) - set(sheets), reverse=True)][:_PICTURES]
    if chosen:
        yield from ("", "## Samples", "", *(f"![{path.rpartition('/')[2]}]({path})" for path in chosen))


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
