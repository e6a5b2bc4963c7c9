"""``ser-zoo prepare``, and what ``ser-zoo corpora`` says of a corpus that was prepared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile

from ser_zoo.cli import main
from ser_zoo.cli.prepare import listed
from ser_zoo.corpora import Corpus, Utterance
from ser_zoo.corpora.base import Download
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.data import prepare as module
from ser_zoo.data.prepare import Prepared
from ser_zoo.errors import CorpusError, SERZooWarning
from tests.data.served import serve
from tests.data.test_prepare import zipped
from tests.releases import write_emo_db
from tests.test_rooms import imported


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_emo_db(tmp_path / "emo_db", ["03", "08"], "WF", 2)


def test_a_release_is_described_and_found_incomplete(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "emo_db", "--root", str(root)]) == 1
    printed = capsys.readouterr().out
    assert "8 of 535 utterances, 2 speakers, 0.00 h, 16,000 Hz" in printed
    assert "missing: 7\n  anger 123 of 127\n" in printed
    assert "damaged: none" in printed
    assert f"Manifest: {root}/ser_zoo_manifest.csv" in printed


def test_all_that_was_found_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "wav" / "03a01Wa.wav").write_bytes(b"")
    assert main(["prepare", "emo_db", "--root", str(root), "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["utterances"], found["decoded"], found["sample_rates"]) == (8, 8, {"16000": 7})
    assert list(found["damaged"]) == ["03a01Wa"]
    seconds = sum(soundfile.info(path).duration for path in (root / "wav").iterdir() if path.stat().st_size)
    assert found["hours"] == round(seconds / 3600, 4) > 0


def test_what_is_wrong_with_a_release_is_listed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(root / "wav" / "03a01Wa.wav", root / "wav" / "03a02Wa.wav")
    (root / "wav" / "08a01Wa.wav").write_bytes(b"")
    (root / "more").mkdir()
    shutil.copy(root / "wav" / "03a01Fa.wav", root / "more" / "x.wav")
    assert main(["prepare", "emo_db", "--root", str(root)]) == 1
    printed = capsys.readouterr().out
    assert "damaged: 1\n  08a01Wa: " in printed
    assert "with the same audio as another: 1\n  03a01Wa = 03a02Wa\n" in printed
    assert f"audio files that no utterance uses: 1\n  {root}/more/x.wav\n" in printed
    assert main(["prepare", "emo_db", "--root", str(root), "--format", "json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["duplicates"], found["extra"]) == ([["03a01Wa", "03a02Wa"]], [f"{root}/more/x.wav"])


def test_what_could_not_be_converted_is_damaged(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unsound(corpus: Corpus, again: bool) -> Prepared:
        return replace(prepare(corpus, again), unconverted={root / "x.mp4": "it has no sound track"})

    prepare = module.prepare
    monkeypatch.setattr(module, "prepare", unsound)
    assert main(["prepare", "emo_db", "--root", str(root)]) == 1
    assert f"damaged: 1\n  {root}/x.mp4: it has no sound track\n" in capsys.readouterr().out


def test_what_the_reader_warns_of_is_listed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def rows(self: EmoDB) -> Iterator[Utterance | None]:
        warnings.warn("one is odd", SERZooWarning, stacklevel=2)
        yield from (self.parse(path) for path in self.files())

    monkeypatch.setattr(EmoDB, "rows", rows)
    assert main(["prepare", "emo_db", "--root", str(root)]) == 1
    assert "noted by the reader: 1\n  one is odd\n" in capsys.readouterr().out


@pytest.mark.parametrize(("count", "more"), [(10, []), (12, ["  and 2 more, which --format json lists"])])
def test_the_first_ten_of_a_list_are_printed(count: int, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    listed("missing", list(range(count)))
    assert capsys.readouterr().out.splitlines() == [f"missing: {count}", *(f"  {number}" for number in range(10)), *more]


def test_recordings_are_decoded_again_where_that_is_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, count in (([], 8), ([], 0), (["--again"], 8)):
        assert main(["prepare", "emo_db", "--root", str(root), *more]) == 1
        assert f"{count} of 8 utterances decoded" in capsys.readouterr().out


def test_an_unknown_task_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "emo_db", "--root", str(root), "--task", "5class"]) == 1
    assert "Unknown task of emo_db '5class'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["prepare", "corpora"])
def test_a_root_whose_name_is_not_utf_8_is_described(verb: str, root: Path) -> None:
    try:
        named = root.rename(root.with_name(os.fsdecode(b"caf\xe9")))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    program = "import sys; from ser_zoo.cli import main; sys.exit(main())"
    # As in most locales but C: output is UTF-8, and a character that it cannot have is an error.
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for form in ("table", "json"):
        call = [sys.executable, "-c", program, verb, "emo_db", "--root", str(named), "--format", form]
        assert b"caf\\udce9" in subprocess.run(call, capture_output=True, env=environment).stdout


def test_a_complete_release_is_sound(emo_db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "emo_db").mkdir()
    (tmp_path / "emo_db" / "wav").symlink_to(emo_db / "wav")
    assert main(["prepare", "emo_db", "--root", str(tmp_path / "emo_db")]) == 0
    assert "535 of 535 utterances" in capsys.readouterr().out


def test_a_release_that_must_be_asked_for_gets_instructions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert EmoDB.downloads == ()
    assert main(["prepare", "emo_db", "--root", str(tmp_path / "emo_db")]) == 1
    printed = capsys.readouterr().out
    assert EmoDB.url in printed
    assert f"{tmp_path}/emo_db holds the unpacked release" in printed


def test_a_corpus_that_is_made_here_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(corpus: Corpus, again: bool) -> Prepared:
        raise CorpusError(f"{corpus.name} would be made now")

    monkeypatch.setattr(module, "prepare", begun)
    assert main(["prepare", "demo", "--root", str(tmp_path / "demo")]) == 1
    assert "demo would be made now" in capsys.readouterr().err


def test_archives_in_the_root_are_unpacked_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put = tmp_path / "put"
    shutil.make_archive(str(put / "emo_db"), "zip", root)
    for said in ("EMO-DB: unpacked emo_db.zip in ", ""):
        assert main(["prepare", "emo_db", "--root", str(put)]) == 1  # since this one is not complete
        printed = capsys.readouterr()
        assert printed.err.startswith(said)
        assert ("unpacked" in printed.err) == bool(said)
        assert "8 of 535 utterances" in printed.out
    assert {path.name for path in put.iterdir()} == {"emo_db.zip", "wav", "ser_zoo_manifest.csv"}


@pytest.mark.parametrize("verified", [True, False])
def test_an_open_release_is_fetched(
    verified: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve({"emo_db.zip": zipped(root)}) as served:
        download = replace(served.download("emo_db.zip"), **({} if verified else {"checksum": None}))
        monkeypatch.setattr(EmoDB, "downloads", (download,))
        assert main(["prepare", "emo_db", "--root", str(tmp_path / "new")]) == 1
        printed = capsys.readouterr()
        assert "8 of 535 utterances" in printed.out
        assert f"EMO-DB (CC0-1.0): {served.url}/emo_db.zip" in printed.err
        assert ("no checksum of it is published, so it is not verified" in printed.err) == (not verified)
        assert main(["prepare", "emo_db", "--root", str(tmp_path / "new")]) == 1
        assert "0 of 8 utterances decoded" in capsys.readouterr().out
        assert len(served.asked) == 1


@pytest.mark.parametrize("inside", [True, False])
def test_downloads_that_a_killed_call_has_left_beside_a_whole_release_are_removed(
    inside: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    left = data / ".emo_db-downloads" / "1" / "emo_db.zip"
    work = data / "emo_db" / ".unpacking-x" / "inner" if inside else data / ".emo_db-incomplete-x"
    shutil.copytree(root, data / "emo_db")
    work.mkdir(parents=True)
    left.parent.mkdir(parents=True)
    left.touch()
    with serve({}) as served:
        monkeypatch.setattr(EmoDB, "downloads", (Download(url=f"{served.url}/emo_db.zip"),))
        assert main(["prepare", "emo_db", "--root", str(data / "emo_db")]) == 1
        assert served.asked == []
    assert [path.name for path in data.iterdir()] == ["emo_db"]
    assert {path.name for path in (data / "emo_db").iterdir()} == {"wav", "ser_zoo_manifest.csv"}


def test_a_table_is_prepared(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "mine.csv").write_text("path,label,speaker\nwav/03a01Wa.wav,anger,03\nwav/08a01Fa.wav,joy,08\n")
    assert main(["prepare", "csv", "--root", str(root / "mine.csv")]) == 0
    assert "2 of 2 utterances, 2 speakers" in capsys.readouterr().out
    assert main(["prepare", "csv", "--root", str(root / "none.csv")]) == 1
    assert "none.csv is not there" in capsys.readouterr().err


# What is said of a corpus that was prepared.


def test_a_corpus_is_described_by_its_manifest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "emo_db", "--root", str(root), "--format", "json"]) == 0
    before = json.loads(capsys.readouterr().out)[0]["contents"]
    main(["prepare", "emo_db", "--root", str(root)])
    capsys.readouterr()
    assert main(["corpora", "emo_db", "--root", str(root), "--format", "json"]) == 0
    after = json.loads(capsys.readouterr().out)[0]["contents"]
    assert before == {**after, "hours": None, "sample_rates": None}
    assert after["by_speaker"] == {speaker: {"anger": 2, "happiness": 2} for speaker in ("03", "08")}
    assert after["sample_rates"] == {"16000": 8}
    assert after["hours"] == round(sum(soundfile.info(path).duration for path in (root / "wav").iterdir()) / 3600, 4) > 0
    assert main(["corpora", "emo_db", "--root", str(root)]) == 0
    assert "0.00 h, 16,000 Hz, by the manifest" in capsys.readouterr().out


def test_a_corpus_that_is_not_there_has_no_contents(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpora", "emo_db", "--root", str(tmp_path), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["found"], row["contents"]) == (False, None)


def test_a_picture_is_drawn(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    plot = ["corpora", "emo_db", "--root", str(root), "--plot"]
    assert main([*plot, str(tmp_path / "x.png")]) == 1
    assert "Call ser-zoo prepare emo_db first" in capsys.readouterr().err
    main(["prepare", "emo_db", "--root", str(root)])
    assert main([*plot, str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert main([*plot, str(tmp_path / "x.doc")]) == 1
    assert "the format .doc is not known" in capsys.readouterr().err


def test_without_matplotlib_its_installation_is_named(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["prepare", "emo_db", "--root", str(root)])
    monkeypatch.setattr("ser_zoo.data.picture.find_spec", lambda name: None)
    assert main(["corpora", "emo_db", "--root", str(root), "--plot", str(tmp_path / "x.png")]) == 1
    assert "pip install 'ser-zoo[plot]'" in capsys.readouterr().err


def test_the_verbs_wait_for_no_torch(root: Path) -> None:
    prepare = f"from ser_zoo.cli import main; assert main(['prepare', 'emo_db', '--root', {str(root)!r}]) == 1"
    assert imported(prepare) <= {"numpy"}  # to decode
    assert imported(f"{prepare}; assert main(['corpora', 'emo_db', '--root', {str(root)!r}]) == 0") == set()
