from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from specrun.errors import CredentialsError, NodeError, TransientError
from specrun.kinds.publications.card import BEGIN, END, merged
from specrun.kinds.publications.publication import Publication, glob_problems
from specrun.kinds.publications.spec import PUBLISHED, PublicationSpec
from specrun.model.artifact import Outputs
from tests.doubles.hub import HubDouble, hub_double
from tests.support.context import DictMemory
from tests.support.hub import declared, hub_context, made_output, reachable_hub
from tests.support.look import make_look

__all__ = ["reachable_hub"]
pytestmark = pytest.mark.usefixtures("reachable_hub")
FILES = {"data.yaml": b"names: [coin]\n", "images/a.png": b"a" * 3000}


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    with hub_double() as double:
        yield double


class Publishing:
    def __init__(self, tmp_path: Path, hub: HubDouble) -> None:
        self.folder, self.hub, self.memory = tmp_path, hub, DictMemory()
        self.runs = 0

    def run(
        self, files: dict[str, bytes], *, token: str = "hf_writer", address: str = "exports.coins", **fields: Any
    ) -> Outputs:
        self.runs += 1
        folder = self.folder / str(self.runs)
        facts = fields.pop("facts", {"images": 1, "classes": ["coin"], "labels": {"coin": 4}})
        made = made_output(folder / "made", files, address, **facts)
        spec = PublicationSpec(connection="hub", artifact=address, repo="org/coins", **fields)
        ctx = hub_context(folder, "publications.coins", self.hub, token, made, memory=self.memory, project_name="p")
        return Publication().run(spec, ctx)

    @property
    def there(self) -> dict[str, bytes]:
        return self.hub.repos["org/coins"].head.files

    @property
    def commits(self) -> int:
        return len(self.hub.repos["org/coins"].commits)


@pytest.fixture
def publishing(tmp_path: Path, hub: HubDouble) -> Publishing:
    return Publishing(tmp_path, hub)


def test_a_new_repository_is_private_and_gets_everything_in_one_commit(publishing: Publishing) -> None:
    facts = publishing.run(FILES, license="cc-by-4.0").facts
    repo = publishing.hub.repos["org/coins"]
    assert repo.private
    assert repo.type == "dataset"
    assert publishing.commits == 2
    assert {name: publishing.there[name] for name in FILES} == FILES
    assert "manifest.json" not in publishing.there
    assert facts["commit"] == repo.head.oid
    assert facts["url"] == f"{publishing.hub.url}/datasets/org/coins"
    card = publishing.there["README.md"].decode()
    assert 'license: "cc-by-4.0"' in card
    assert "- coin: 4 labels" in card


def test_unchanged_content_makes_no_commit(publishing: Publishing) -> None:
    first = publishing.run(FILES).facts
    second = publishing.run(FILES).facts
    assert publishing.commits == 2
    assert second["commit"] == first["commit"]
    assert second["uploaded"] == 0


def test_only_what_changed_goes_up_and_what_is_gone_goes_away(publishing: Publishing) -> None:
    publishing.run({**FILES, "old.txt": b"old"})
    facts = publishing.run({**FILES, "data.yaml": b"names: [coin, leaf]\n"}).facts
    assert (facts["uploaded"], facts["removed"]) == (1, 1)
    assert "old.txt" not in publishing.there
    assert publishing.hub.asked("PUT", "/lfs/") == 1


def test_what_others_committed_stays_and_the_next_commit_goes_on_top(publishing: Publishing) -> None:
    publishing.run(FILES)
    foreign = publishing.hub.person_commits("org/coins", {"notes.md": b"mine"})
    publishing.run({**FILES, "data.yaml": b"names: [leaf]\n"})
    assert publishing.there["notes.md"] == b"mine"
    assert publishing.hub.repos["org/coins"].head.parent == foreign.oid


def test_a_file_that_somebody_else_changed_is_not_overwritten_blindly(publishing: Publishing) -> None:
    publishing.run(FILES)
    publishing.hub.person_commits("org/coins", {"data.yaml": b"by hand"})
    with pytest.raises(NodeError, match=r"written by somebody else and differ: data\.yaml"):
        publishing.run(FILES)
    assert publishing.there["data.yaml"] == b"by hand"
    publishing.run(FILES, on_foreign_change="overwrite")
    assert publishing.there["data.yaml"] == FILES["data.yaml"]


def test_a_read_only_token_is_told_so_and_is_not_printed(publishing: Publishing) -> None:
    with pytest.raises(CredentialsError, match="403") as caught:
        publishing.run(FILES, token="hf_reader")
    assert "hf_reader" not in str(caught.value)


def test_a_wrong_token_is_told_so(publishing: Publishing) -> None:
    with pytest.raises(CredentialsError, match="401"):
        publishing.run(FILES, token="hf_nobody")


def test_a_hub_that_cannot_be_reached_is_told_so(tmp_path: Path, publishing: Publishing) -> None:
    publishing.hub.url = "http://127.0.0.1:9"
    made = made_output(tmp_path / "made", FILES)
    spec = PublicationSpec(connection="hub", artifact="exports.coins", repo="org/coins")
    settings = {"retry": {"max_attempts": 1}}
    ctx = hub_context(tmp_path, "publications.coins", publishing.hub, "t", made, settings=settings)
    with pytest.raises(TransientError, match="refuses connections"):
        Publication().run(spec, ctx)


def test_a_hub_without_xet_says_which_setting_does_without_it(
    publishing: Publishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hf_xet")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(NodeError) as caught:
        publishing.run(FILES)
    assert "HF_HUB_DISABLE_XET=1" in str(caught.value.hint)


def test_an_upload_that_broke_off_goes_on_without_sending_large_files_again(publishing: Publishing) -> None:
    publishing.hub.faults.append(("POST", "/commit/main", 400))
    with pytest.raises(NodeError):
        publishing.run(FILES)
    publishing.run(FILES)
    assert publishing.hub.asked("PUT", "/lfs/") == 1
    assert publishing.there["images/a.png"] == FILES["images/a.png"]


def test_a_commit_that_was_made_but_not_noted_is_ours(publishing: Publishing) -> None:
    publishing.run(FILES)
    pending = publishing.memory.recall("publications.coins", PUBLISHED)
    publishing.memory.values = {("publications.coins", "pending"): {**pending, "commit": None}}
    publishing.run({**FILES, "data.yaml": b"new\n"})
    assert publishing.there["data.yaml"] == b"new\n"


def test_text_around_the_block_of_the_card_stays(publishing: Publishing) -> None:
    own = b"---\nlicense: mit\n---\n\nMy words.\n"
    publishing.hub.make("org/coins", "dataset", {"README.md": own})
    publishing.run(FILES)
    card = publishing.there["README.md"].decode()
    assert card.startswith("---\nlicense: mit\n---\n\nMy words.\n")
    assert card.count(BEGIN) == card.count(END) == 1
    publishing.run(FILES)
    assert publishing.there["README.md"].decode() == card


def test_a_card_is_merged_into_itself_without_a_change() -> None:
    made = f'---\nlicense: "mit"\n---\n\n{BEGIN}\n# coins\n{END}\n'
    assert merged(made, made) == made
    assert merged(made, f"above\n{BEGIN}\nold\n{END}\nbelow\n").endswith(f"above\n{BEGIN}\n# coins\n{END}\nbelow\n")


def test_metadata_of_a_card_is_renewed_where_it_is_ours() -> None:
    top = '---\nlicense: "mit"\nbase_model: "a/b"\ninstance_prompt: "new"\ntags: ["lora"]\n---\n\n'
    made = f"{top}{BEGIN}\n# coins\n{END}\n"
    theirs = "---\n# mine\ninstance_prompt: old\ntags:\n- my own\n- another\nlanguage: fr\n---\n\nMy words.\n"
    card = merged(made, theirs)
    assert card.startswith(
        '---\n# mine\ninstance_prompt: "new"\ntags:\n- my own\n- another\nlanguage: fr\n'
        'license: "mit"\nbase_model: "a/b"\n---\n\nMy words.\n'
    )
    assert merged(made, card) == card


def test_the_card_of_a_lora_shows_trigger_base_and_samples(publishing: Publishing) -> None:
    facts = {"base_model": "stabilityai/sdxl", "trigger": "reefx", "rank": 8, "alpha": 4, "validation_loss": 0.12345678}
    facts |= {"prediction": "v_prediction", "zero_terminal_snr": True}
    files = {"lora.safetensors": b"w" * 2000, "samples/contact_sheet.png": b"p"}
    publishing.run(files, address="lora_jobs.reef", facts=facts)
    card = publishing.there["README.md"].decode()
    assert publishing.hub.repos["org/coins"].type == "model"
    assert 'base_model: "stabilityai/sdxl"' in card
    assert 'instance_prompt: "reefx"' in card
    assert "![contact_sheet.png](samples/contact_sheet.png)" in card
    assert "- Validation loss: 0.1235\n" in card
    assert "prediction_type: v_prediction, rescale_betas_zero_snr: true" in card


@pytest.mark.parametrize("glob", ["../secret", "/etc/*", "a/../../b", "C:\\x", ".."])
def test_globs_that_lead_outside_are_refused(glob: str) -> None:
    assert glob_problems("include", [glob])[0].path == "include.0"


@pytest.mark.parametrize(("committed", "notes"), [(False, 0), (True, 1)])
def test_looking_is_one_request_and_tells_of_foreign_commits(
    tmp_path: Path, publishing: Publishing, committed: bool, notes: int
) -> None:
    publishing.run(FILES)
    if committed:
        publishing.hub.person_commits("org/coins", {"notes.md": b"mine"})
    publishing.hub.seen.clear()
    look = make_look(
        tmp_path,
        "publications.coins",
        observed={"exists": True},
        declarations=declared(publishing.hub),
        environ={"HF_TOKEN": "hf_writer"},
        remembered={PUBLISHED: publishing.memory.recall("publications.coins", PUBLISHED)},
    )
    spec = PublicationSpec(connection="hub", artifact="exports.coins", repo="org/coins")
    seen = anyio.run(Publication().observe, spec, look)
    assert len(publishing.hub.seen) == 1
    assert len(seen.notes) == notes
    assert seen.value == {"exists": True}
