"""The providers of a dataset's captions, made from its spec. Imported by workers only."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from specrun.clients.captioners.blip2 import Blip2, Blip2Settings, inference_url
from specrun.clients.captioners.llava import Llava, LlavaSettings
from specrun.clients.captioners.local import LocalCaptioner, LocalSettings
from specrun.clients.http import Retry
from specrun.errors import NodeError
from specrun.kinds.captions.answers_kept import KeptAnswers
from specrun.kinds.captions.files import MetadataFiles, read_sidecar
from specrun.kinds.captions.pictures import picture_bytes
from specrun.kinds.captions.spec import (
    Blip2Provider,
    LlavaProvider,
    LocalProvider,
    MetadataProvider,
    SidecarProvider,
    TemplateProvider,
)
from specrun.kinds.captions.spec import Provider as ProviderSpec
from specrun.kinds.captions.template import TemplateMistake, fill_template
from specrun.kinds.captions.text import why_no_caption
from specrun.model.digest import file_digest, files_digest, json_digest
from specrun.model.work import Context
from specrun.spec.kind import Ref
from specrun.spec.quantities import duration_s


@dataclass(frozen=True, slots=True)
class Pictured:
    """An image to be captioned. digest: of its bytes. root: the folder of its source's media. values: for templates."""

    name: str
    media: Path
    digest: str
    root: Path
    values: Mapping[str, object]


class Provider(Protocol):
    """kind: what is recorded as the author. key: of all that its answers depend on besides the picture."""

    kind: str
    key: str

    def caption(self, image: Pictured) -> str | None:
        """None: it has nothing to say of this image. Raises NodeError."""
        ...

    def close(self) -> None: ...


class _Captioner(Protocol):
    def caption(self, data: bytes, kind: str) -> str: ...
    def close(self) -> None: ...


class Sidecar:
    kind = key = "sidecar"

    def __init__(self, suffix: str, refused: Counter[str]) -> None:
        self.suffix, self._refused = suffix, refused
        self.folders: set[Path] = set()
        """Those that it has looked into."""

    def caption(self, image: Pictured) -> str | None:
        self.folders.add(image.media.parent)
        return read_sidecar(image.media, self.suffix, self._refused)

    def close(self) -> None:
        pass


class Metadata:
    kind = key = "metadata"

    def __init__(self, files: MetadataFiles) -> None:
        self.files = files

    def caption(self, image: Pictured) -> str | None:
        return self.files.caption(image.media, image.root)

    def close(self) -> None:
        pass


class Template:
    kind = key = "template"

    def __init__(self, text: str) -> None:
        self._text = text

    def caption(self, image: Pictured) -> str | None:
        try:
            return fill_template(self._text, image.values)
        except TemplateMistake as mistake:
            raise NodeError(f"{image.name}: {mistake}.", hint="Mend the template.") from None

    def close(self) -> None:
        pass


class Asked:
    """A captioner that looks at the picture; its answers are kept."""

    def __init__(self, kind: str, captioner: _Captioner, key: str, kept: KeptAnswers) -> None:
        self.kind, self.key = kind, key
        self._captioner, self._kept = captioner, kept
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.asked = 0

    def caption(self, image: Pictured) -> str | None:
        with self._turns[image.digest]:  # the same picture under another name waits for its answer
            return self._kept.find(image.digest) or self._answer(image)

    def _answer(self, image: Pictured) -> str:
        data, kind = picture_bytes(image.media)
        said = self._captioner.caption(data, kind)
        if why := why_no_caption(said):
            raise NodeError(f"{self.kind}: its answer for {image.name} {why} and no caption.")
        self._kept.keep(image.digest, said)
        self.asked += 1
        return said

    def close(self) -> None:
        self._captioner.close()


def make_provider(spec: ProviderSpec, ctx: Context, refused: Counter[str]) -> Provider:
    """refused: is told of files that hold no caption. Raises CredentialsError, FormatError."""
    match spec:
        case SidecarProvider():
            return Sidecar(spec.suffix, refused)
        case MetadataProvider():
            return Metadata(MetadataFiles(None if spec.path is None else ctx.project_dir / spec.path, spec.column))
        case TemplateProvider():
            return Template(spec.text)
        case Blip2Provider():
            url = spec.url or inference_url(_declared(spec.connection, ctx)["endpoint"], spec.model)
            return _asked("blip2", Blip2(_blip2(spec, url, ctx), ctx.check_stop), [url], ctx)
        case LlavaProvider():
            settings = _llava(spec, ctx)
            depends = [settings.url, spec.model, spec.prompt, spec.max_tokens, spec.temperature]
            return _asked("llava", Llava(settings, ctx.check_stop), depends, ctx)
        case LocalProvider():
            local = _local(spec, ctx)
            depends = [_model_digest(local.model), spec.prompt, spec.max_tokens]
            return _asked("local", LocalCaptioner(local), depends, ctx)


def _asked(kind: str, captioner: _Captioner, depends: list[Any], ctx: Context) -> Asked:
    key = json_digest([kind, *depends])
    return Asked(kind, captioner, key, KeptAnswers(ctx.cache_dir, key))


def _declared(connection: str, ctx: Context) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ctx.declarations[Ref("connections").address(connection)]
    return found


def _blip2(spec: Blip2Provider, url: str, ctx: Context) -> Blip2Settings:
    token = _declared(spec.connection, ctx).get("token")
    return Blip2Settings(url, ctx.secret(token) if token else None, Retry.from_settings(ctx.settings))


def _llava(spec: LlavaProvider, ctx: Context) -> LlavaSettings:
    given = _declared(spec.connection, ctx)
    token, api = given.get("token"), given.get("api", "auto")
    return LlavaSettings(
        url=str(given["url"]),
        prompt=spec.prompt,
        model=spec.model,
        max_tokens=spec.max_tokens,
        temperature=spec.temperature,
        api=None if api == "auto" else api,
        token=ctx.secret(token) if token else None,
        timeout_s=duration_s(given.get("timeout", "120s")),
        verify_tls=bool(given.get("verify_tls", True)),
        retry=Retry.from_settings(ctx.settings),
    )


def _local(spec: LocalProvider, ctx: Context) -> LocalSettings:
    folder = ctx.project_dir / spec.model
    return LocalSettings(
        model=str(folder) if folder.is_dir() else spec.model,
        prompt=spec.prompt,
        max_tokens=spec.max_tokens,
        device="cuda" if ctx.gpus else "cpu",
    )


def _model_digest(model: str) -> str:
    """A folder by its content: another model in the same place gives other captions."""
    folder = Path(model)
    if not folder.is_dir():
        return model
    return files_digest((path.name, file_digest(path)) for path in sorted(folder.iterdir()) if path.is_file())
