from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from specrun.errors import FormatError
from specrun.kinds.captions.answers_kept import KeptAnswers
from specrun.kinds.captions.files import MetadataFiles, read_sidecar


def test_metadata_lies_with_the_image_or_above(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,caption\na/b.png,from above\n./a/c.png,dotted\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "metadata.jsonl").write_text('\ufeff{"file_name": "d.png", "prompt": "beside"}\n', "utf-8")
    files = MetadataFiles(None, None)
    found = [files.caption(tmp_path / "a" / name, tmp_path) for name in ("b.png", "c.png", "d.png", "e.png")]
    assert found == ["from above", "dotted", "beside", None]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.jsonl", '{"file_name": "a.png", "text": "one\u2028two\x85three"}\r\n'),
        ("metadata.csv", 'file_name,text\r\na.png,"one\u2028two\x85three"\r\n'),
    ],
)
def test_lines_end_where_the_format_says_and_not_at_every_separator(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert MetadataFiles(None, None).caption(tmp_path / "a.png", tmp_path) == "one\u2028two\x85three"


def test_a_file_elsewhere_names_images_alone(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file_name,words\nb.png,a fish\nz.png,none\n")
    files = MetadataFiles(tmp_path / "list.csv", "words")
    assert files.caption(tmp_path / "x" / "b.png", tmp_path / "x") == "a fish"
    assert list(files.unused()) == [(tmp_path, ["z.png"])]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("metadata.jsonl", '{"file_name": "a.png"}\nnonsense\n', r"metadata\.jsonl:2: not JSON"),
        ("metadata.jsonl", "[1]\n", r"metadata\.jsonl:1: not an object"),
        ("metadata.csv", "name,text\na.png,fish\n", r"metadata\.csv: it has no column file_name"),
        ("metadata.csv", "file_name,words\na.png,fish\n", r"it has no column text or caption or prompt"),
    ],
)
def test_mistakes_in_metadata_name_the_file_and_the_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=said):
        MetadataFiles(None, None).caption(tmp_path / "a.png", tmp_path)


def test_a_text_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("récif".encode("latin-1"))
    with pytest.raises(FormatError, match=r"a\.txt: is not UTF-8"):
        read_sidecar(tmp_path / "a.png", ".txt", Counter())


def test_a_web_page_in_a_text_file_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("<html><body>404</body></html>")
    refused: Counter[str] = Counter()
    assert read_sidecar(tmp_path / "a.png", ".txt", refused) is None
    assert list(refused) == ["a.txt is a web page"]


def test_answers_are_kept_across_a_line_that_was_cut_off(tmp_path: Path) -> None:
    KeptAnswers(tmp_path, "k").keep("one", "a\nfish")
    with open(tmp_path / "captions" / "k.jsonl", "a") as file:
        file.write('{"image": "tw')
    KeptAnswers(tmp_path, "k").keep("three", "reef")
    kept = KeptAnswers(tmp_path, "k")
    assert (kept.find("one"), kept.find("two"), kept.find("three")) == ("a\nfish", None, "reef")
