"""What a dataset says of its captions. Light: planning imports this module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from specrun.kinds.captions.template import OWN_FIELDS, TemplateMistake, template_fields
from specrun.spec.kind import NOT_RESULT, Lookup, Problem, Ref, Strict

CAPTION, CAPTION_BY = "caption", "caption_by"
"""The sample fields."""
PERSON = "person"
"""Stands in `caption_by` when somebody wrote the caption in FiftyOne."""
ASKED = frozenset({"blip2", "llava", "local"})
"""Providers that look at the picture, and take time or money."""


class SidecarProvider(Strict):
    """A text file beside the image, of the same name."""

    kind: Literal["sidecar"]
    """Text files beside the images."""
    suffix: str = Field(default=".txt", pattern=r"^\.[A-Za-z0-9_.-]+$")
    """Its suffix."""


class MetadataProvider(Strict):
    """`metadata.jsonl` or `metadata.csv`, in the image's folder or one above: `file_name` and a column of text."""

    kind: Literal["metadata"]
    """Lists of captions."""
    path: str | None = None
    """One file, relative to the spec; null: those that lie with the images."""
    column: str | None = None
    """The column of the text; null: text, caption or prompt."""


class Blip2Provider(Strict):
    """Hugging Face inference, image to text."""

    kind: Literal["blip2"]
    """Hugging Face inference."""
    connection: Annotated[str, Ref("connections")]
    """The Hugging Face account."""
    model: str = "Salesforce/blip2-opt-2.7b"
    """A model of the Hub."""
    url: str | None = None
    """The address of an inference endpoint of one's own, instead of `model`; the account's token goes there."""


class LlavaProvider(Strict):
    """A LLaVA server, or any server that speaks OpenAI's protocol and sees pictures."""

    kind: Literal["llava"]
    """A vision server."""
    connection: Annotated[str, Ref("connections")]
    """The server."""
    prompt: str = Field(default="Describe this image in one sentence.", min_length=1)
    """What it is asked."""
    model: str | None = None
    """One of its models; null: the first one that it offers."""
    max_tokens: int = Field(default=200, ge=1, le=4096)
    """The longest answer."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    """0: always the likeliest words."""


class LocalProvider(Strict):
    """A transformers captioner on this machine."""

    kind: Literal["local"]
    """transformers on this machine."""
    model: str = "Salesforce/blip-image-captioning-base"
    """A folder, relative to the spec, or a model of the Hub."""
    prompt: str | None = None
    """How its sentence begins, or what it is asked, where the model takes one."""
    max_tokens: int = Field(default=60, ge=1, le=1024)
    """The longest answer."""


class TemplateProvider(Strict):
    """A sentence with fields of the sample."""

    kind: Literal["template"]
    """Fields of the sample."""
    text: str = Field(min_length=1)
    """For example "frame {frame} of {clip}: {description}". Besides the sample's fields there are name, split, tags,
    label (the most frequent class), labels (all classes) and count (how many labels). An image that lacks one of the
    fields is left to the next provider."""


Provider = SidecarProvider | MetadataProvider | Blip2Provider | LlavaProvider | LocalProvider | TemplateProvider


class CaptionsSpec(Strict):
    """Where captions come from, and how they are finished."""

    providers: list[Annotated[Provider, Field(discriminator="kind")]] = []
    """Tried in order for each image; before them sidecar files and metadata files, unless they stand here in a place
    of their own, or `overwrite` is true."""
    trigger: str | None = Field(default=None, min_length=1)
    """A word that every caption begins with, unless it holds it already."""
    prefix: str = ""
    """Stands before every caption, behind the trigger."""
    suffix: str = ""
    """Stands behind every caption."""
    clean: bool = True
    """Takes lead-ins such as "The image shows" and repeated sentences out of what models say."""
    max_length: int = Field(default=200, ge=8)
    """In tokens, with the two marks at the ends; longer ones are shortened to whole words, and noted."""
    tokenizer: str | None = None
    """Of the base model's text encoder: a folder (also that of a whole base model) or a model of the Hub, such as
    openai/clip-vit-large-patch14. null: a word counts one token and one more for every 8 letters beyond the first 8,
    a punctuation mark one, and two for the ends."""
    overwrite: bool = False
    """true: captions that exist (written by people in FiftyOne, or by a model under other settings) are replaced."""
    concurrency: int = Field(default=4, ge=1, le=64, json_schema_extra=NOT_RESULT)
    """Requests at a time."""


class RequireSpec(Strict):
    """What the dataset must have, so that nothing is trained on too little."""

    min_images: int = Field(default=10, ge=1)
    """Fewer images are an error."""
    min_caption_ratio: float = Field(default=0.5, ge=0, le=1)
    """A lower share of captioned images is a warning; none at all is an error."""


def provider_chain(spec: CaptionsSpec) -> list[Provider]:
    """The providers in the order in which they are tried."""
    declared = {provider.kind for provider in spec.providers}
    files: list[Provider] = []
    if not spec.overwrite:
        files += [SidecarProvider(kind="sidecar")] if "sidecar" not in declared else []
        files += [MetadataProvider(kind="metadata")] if "metadata" not in declared else []
    return [*files, *spec.providers]


def caption_problems(
    spec: CaptionsSpec | None, lookup: Lookup, origins: Sequence[str], known: Iterable[str]
) -> list[Problem]:
    """origins: addresses that the samples come from. known: fields that the dataset's own spec makes."""
    if spec is None:
        return []
    problems: list[Problem] = []
    for i, provider in enumerate(spec.providers):
        at = f"captions.providers.{i}"
        match provider:
            case TemplateProvider():
                problems += _template_problems(at, provider, lookup, origins, known)
            case Blip2Provider():
                problems += _connection_problems(at, provider.connection, "huggingface", lookup)
            case LlavaProvider():
                problems += _connection_problems(at, provider.connection, "llava", lookup)
            case LocalProvider(model=model) if _is_path(model):
                problems += _path_problems(f"{at}.model", model, lookup)
            case MetadataProvider(path=str(path)):
                problems += _path_problems(f"{at}.path", path, lookup)
            case _:
                pass
    if spec.tokenizer is not None and _is_path(spec.tokenizer):
        problems += _path_problems("captions.tokenizer", spec.tokenizer, lookup)
    return problems


def _is_path(text: str) -> bool:
    """As against `org/name` of the Hub."""
    return text.startswith((".", "/", "~")) or text.count("/") > 1


def _path_problems(at: str, written: str, lookup: Lookup) -> list[Problem]:
    path = Path(lookup.project_dir) / written
    return [] if path.exists() else [Problem(at, f"{path} does not exist", "Mend the path.")]


def _connection_problems(at: str, named: str, wanted: str, lookup: Lookup) -> list[Problem]:
    found = lookup.kind_of(Ref("connections").address(named))
    if found is None or found == f"connections.{wanted}":
        return []
    kind = found.partition(".")[2]
    return [Problem(f"{at}.connection", f"{named} is a connection of kind {kind}.", f"Name one of kind {wanted}.")]


def _template_problems(
    at: str, provider: TemplateProvider, lookup: Lookup, origins: Sequence[str], known: Iterable[str]
) -> list[Problem]:
    try:
        names = template_fields(provider.text)
    except TemplateMistake as mistake:
        return [Problem(f"{at}.text", f"{mistake}.", "Write {field}, and {{ for a brace.")]
    fields = _fields_of(origins, lookup)
    if fields is None:
        return []
    there = sorted({*fields, *known, *OWN_FIELDS})
    hint = f"There are {', '.join(there)}."
    return [
        Problem(f"{at}.text", f'No sample has a field "{name}".', hint)
        for name in dict.fromkeys(names)
        if name not in there
    ]


def _fields_of(origins: Sequence[str], lookup: Lookup) -> set[str] | None:
    """The fields that samples bring with them; None: that is known only when they are there."""
    fields: set[str] = set()
    for origin in origins:
        match lookup.kind_of(origin):
            case "sources.video":
                from specrun.kinds.sources.video_spec import (
                    FRAME_FIELDS,  # another kind of the table; only when one is used
                )

                fields.update(FRAME_FIELDS)
            case "sources.images":
                pass
            case _:
                return None
    return fields


def asks(provider: Any) -> bool:
    return provider.kind in ASKED
