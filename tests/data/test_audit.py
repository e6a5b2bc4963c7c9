from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from ser_zoo.corpora import Utterance
from ser_zoo.corpora.csv_table import CSVTable
from ser_zoo.corpora.emo_db import EmoDB
from ser_zoo.corpora.ravdess import RAVDESS
from ser_zoo.data.audit import Sound, add_sound, audit_split, certify, listen, protocol_folds, read_split
from ser_zoo.data.fingerprint import Copy
from ser_zoo.errors import AudioError, LeakError, ProtocolError, SERZooWarning
from ser_zoo.protocols import Row, Split, check_split, find_protocol

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LABELS = ("anger", "sadness")


def utterance(key: str, label: str = "anger", **changes: Any) -> Utterance:
    """``a1`` by speaker a, with a recording, session and text of its own."""
    own = {"path": Path(f"{key}.wav"), "speaker": key[0], "session": key[0], "text": key, "original_label": label}
    return Utterance(**{"id": key, "label": label, **own, **changes})


def clean() -> Split:
    """Four speakers who share nothing, each side with both classes."""
    sides = (("a1", "a2", "b1", "b2"), ("c1", "c2"), ("d1", "d2"))
    return Split(*([utterance(key, LABELS[int(key[1]) - 1]) for key in side] for side in sides))


def with_test(**changes: Any) -> Split:
    """The clean split, its first tested utterance changed."""
    split = clean()
    return split._replace(test=[replace(split.test[0], **changes), *split.test[1:]])


def sound(split: Split, equal: Sequence[str] = (), copies: Sequence[tuple[str, str]] = ()) -> Sound:
    """An hour each; the ids of ``equal`` have the same samples."""
    keys = {row.utterance if isinstance(row, Row) else row.id for rows in split for row in rows}
    content = {key: "same" if key in equal else key for key in sorted(keys)}
    return Sound(dict.fromkeys(content, 3600.0), content, [Copy(*pair, 0.9, 0.0) for pair in copies], 0, {})


def augmented(row: Utterance) -> Row:
    same = {name: getattr(row, name) for name in Utterance.__slots__}
    return Row(**{**same, "id": f"{row.id}+noise"}, utterance=row.id, variant=("noise",))


def found(report: dict[str, Any], verdict: str | None = "fails") -> list[tuple[str, tuple[str, ...], int]]:
    return [
        (finding["kind"], finding["sides"], finding["count"])
        for finding in report["findings"]
        if verdict in (None, finding["verdict"])
    ]


# Each kind of leak.


def test_a_clean_split_has_no_findings() -> None:
    split = clean()
    assert found(add_sound(audit_split(split, LABELS), split, sound(split)), None) == []


TRAIN_TEST = ("train", "test")


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("speaker", {"speaker": "a"}),
        ("recording", {"path": Path("a1.wav")}),
    ],
)
def test_what_is_on_two_sides_is_found_and_fails(kind: str, changes: dict[str, Any]) -> None:
    report = audit_split(with_test(**changes), LABELS)
    assert found(report) == [(kind, TRAIN_TEST, 1)]
    assert report["findings"][0]["examples"] == ("a1, d1",)


@pytest.mark.parametrize(("kind", "changes"), [("session", {"session": "a"}), ("text", {"text": "a1"})])
def test_sessions_and_texts_on_two_sides_are_notes_without_ids(kind: str, changes: dict[str, Any]) -> None:
    report = audit_split(with_test(**changes), LABELS)
    assert found(report) == []
    assert found(report, "note") == [(kind, TRAIN_TEST, 1)]
    assert report["findings"][0]["examples"] == ()


def test_a_text_on_sides_that_are_kept_apart_fails() -> None:
    split = with_test(text="a1")
    assert found(audit_split(split, LABELS, texts_apart=[TRAIN_TEST])) == [("text", TRAIN_TEST, 1)]
    assert found(audit_split(split, LABELS, texts_apart=[("train", "validation")])) == []


def test_two_stretches_of_one_recording_are_two_recordings() -> None:
    assert found(audit_split(with_test(path=Path("a1.wav"), start=3.0), LABELS), None) == []


@pytest.mark.parametrize("path", [Path("b/../a1.wav"), Path("a1.wav").absolute()])
def test_a_recording_whose_path_is_written_in_two_ways_is_one(path: Path) -> None:
    assert found(audit_split(with_test(path=path), LABELS)) == [("recording", TRAIN_TEST, 1)]


def test_identical_audio_is_found() -> None:
    split = clean()
    heard = add_sound(audit_split(split, LABELS), split, sound(split, equal=("c1", "d1")))
    assert found(heard) == [("identical audio", ("validation", "test"), 1)]
    assert heard["findings"][0]["examples"] == ("c1, d1",)


@pytest.mark.parametrize("pair", [("a1", "d1"), ("d1", "a1")])
def test_a_near_duplicate_is_found(pair: tuple[str, str]) -> None:
    split = clean()
    heard = add_sound(audit_split(split, LABELS), split, sound(split, copies=[pair]))
    assert found(heard) == [("near-duplicate", TRAIN_TEST, 1)]


def test_an_utterance_and_what_is_made_of_it_are_not_identical_audio() -> None:
    split = clean()
    made = split._replace(test=[*split.test, augmented(split.train[0])])
    assert "identical audio" not in [
        kind for kind, _, _ in found(add_sound(audit_split(made, LABELS), made, sound(made)), None)
    ]


def test_the_same_done_to_equal_audio_gives_equal_audio() -> None:
    split = clean()
    made = Split([*split.train, augmented(split.train[0])], split.validation, [*split.test[1:], augmented(split.test[0])])
    heard = add_sound(audit_split(made, LABELS), made, sound(made, equal=("a1", "d1")))
    assert ("identical audio", TRAIN_TEST, 1) in found(heard)


def test_copies_on_one_side_are_no_leak() -> None:
    split = clean()
    heard = add_sound(audit_split(split, LABELS), split, sound(split, equal=("a1", "b1"), copies=[("a2", "b2")]))
    assert found(heard, None) == []


def test_validation_that_is_the_test_is_found_once() -> None:
    split = clean()
    report = audit_split(split._replace(validation=split.test), LABELS)
    assert found(report) == [("validation is test", ("validation", "test"), 2)]


def test_a_part_of_the_test_in_validation_is_a_recording_on_two_sides() -> None:
    split = clean()
    report = audit_split(split._replace(validation=[*split.validation, split.test[0]]), LABELS)
    assert ("recording", ("validation", "test"), 1) in found(report)


def test_a_class_that_is_tested_but_never_trained_fails() -> None:
    split = clean()
    report = audit_split(split._replace(train=[row for row in split.train if row.label == "anger"]), LABELS)
    assert found(report) == [("class never trained", ("train",), 1)]
    assert report["findings"][0]["examples"] == ("sadness",)


def test_a_class_that_only_validates_fails() -> None:
    split = clean()
    alone = split._replace(train=split.train[::2], test=split.test[:1])
    assert found(audit_split(alone, LABELS)) == [("class never trained", ("train",), 1)]


def test_a_class_that_is_not_tested_is_noted() -> None:
    split = clean()
    report = audit_split(split._replace(test=split.test[:1]), LABELS)
    assert found(report, None) == [("class missing", ("test",), 1)]


def test_augmentation_before_the_split_is_found() -> None:
    split = clean()
    report = audit_split(split._replace(test=[*split.test, augmented(split.train[0])]), LABELS)
    assert ("augmentation before split", TRAIN_TEST, 1) in found(report)


def test_rows_of_one_side_are_no_augmentation_before_the_split() -> None:
    split = clean()
    assert found(audit_split(split._replace(train=[*split.train, augmented(split.train[0])]), LABELS), None) == []


# What is declared.


@pytest.mark.parametrize(
    ("leak", "changes"),
    [("speaker", {"speaker": "a"}), ("recording", {"path": Path("a1.wav")})],
)
def test_a_declared_leak_is_listed_as_declared(leak: Any, changes: dict[str, Any]) -> None:
    report = audit_split(with_test(**changes), LABELS, declared=[leak])
    assert found(report) == []
    assert found(report, "declared") == [(leak, TRAIN_TEST, 1)]
    assert report["findings"][0]["examples"] == ()


def test_declared_audio_covers_near_duplicates() -> None:
    split = clean()
    heard = add_sound(audit_split(split, LABELS), split, sound(split, ("c1", "d1"), [("a1", "d2")]), declared=["audio"])
    assert [kind for kind, _, _ in found(heard, "declared")] == ["near-duplicate", "identical audio"]


def test_validation_speakers_may_only_train() -> None:
    split = clean()
    shared = [replace(row, speaker="a") for row in split.validation]
    assert found(audit_split(split._replace(validation=shared), LABELS, declared=["validation speaker"])) == []
    tested = split._replace(test=[replace(row, speaker="a") for row in split.test])
    assert found(audit_split(tested, LABELS, declared=["validation speaker"])) == [("speaker", TRAIN_TEST, 1)]


@pytest.mark.parametrize(
    "split",
    [clean(), with_test(speaker="a"), with_test(path=Path("a1.wav")), with_test(session="a"), with_test(text="a1")],
    ids=["clean", "speaker", "recording", "session", "text"],
)
@pytest.mark.parametrize("protocol", [("emo_db", "loso10"), ("emo_db", "as_cross_attn"), ("emo_db", "as_cnn_attn")])
def test_the_audit_fails_where_the_check_of_every_run_does(split: Split, protocol: tuple[str, str]) -> None:
    rule = find_protocol(*protocol)
    # As the protocol would have made it.
    split = split._replace(validation=split.test) if rule.validates_on_test else split
    fails = bool(found(audit_split(split, LABELS, rule.declared_leaks, rule.texts_apart)))
    try:
        check_split(split, rule, sound(split).content)
    except LeakError:
        assert fails
    else:
        assert not fails


def test_the_order_of_the_rows_changes_nothing() -> None:
    split = with_test(speaker="a")
    assert audit_split(Split(*(side[::-1] for side in split)), LABELS) == audit_split(split, LABELS)


# Certificates.


def test_the_hours_of_a_side_are_those_of_its_utterances_all_and_by_class() -> None:
    split = clean()
    split = split._replace(train=[*split.train, augmented(split.train[0])])
    sides = add_sound(audit_split(split, LABELS), split, sound(split))["sides"]
    assert {side: counts["hours"] for side, counts in sides.items()} == {"train": 5.0, "validation": 2.0, "test": 2.0}
    assert {label: counts["hours"] for label, counts in sides["train"]["classes"].items()} == {"anger": 3.0, "sadness": 2.0}


def emo_db_rows(root: Path) -> list[Utterance]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SERZooWarning)
        return EmoDB(root).utterances()


def certificate(root: Path, rows: list[Utterance], protocol: str = "loso10") -> dict[str, Any]:
    rule = find_protocol("emo_db", protocol)
    return certify(EmoDB(root), rows, protocol_folds(rule, rows), rule)


def test_a_certificate_counts_utterances_and_speakers_by_class(small_emo_db: Path) -> None:
    written = certificate(small_emo_db, emo_db_rows(small_emo_db))
    assert written["passes"]
    assert written["audio"] is None
    assert len(written["folds"]) == 10
    sides = written["folds"][0]["sides"]
    assert {side: (counts["utterances"], counts["speakers"]) for side, counts in sides.items()} == {
        "train": (48, 8),
        "validation": (6, 1),
        "test": (6, 1),
    }
    assert sides["train"]["classes"]["anger"] == {"utterances": 16, "speakers": 8}
    assert "hours" not in sides["train"]


def test_its_hash_is_that_of_the_content_and_not_of_the_place(small_emo_db: Path) -> None:
    rows = emo_db_rows(small_emo_db)
    written = certificate(small_emo_db, rows)
    moved = [replace(row, path=Path("elsewhere") / row.path.name) for row in reversed(rows)]
    assert certificate(small_emo_db, moved) == written
    swapped = [replace(row, label={"anger": "neutral", "neutral": "anger"}.get(row.label, row.label)) for row in rows]
    other = certificate(small_emo_db, swapped)
    assert other["hash"] != written["hash"]
    assert other["folds"][0]["hash"] != written["folds"][0]["hash"]
    assert len(written["hash"]) == 12
    assert str(small_emo_db) not in str(written)


def test_a_fold_keeps_its_hash_when_audio_is_heard(small_emo_db: Path) -> None:
    rows = emo_db_rows(small_emo_db)
    rule = find_protocol("emo_db")
    heard = certify(EmoDB(small_emo_db), rows, protocol_folds(rule, rows), rule, listen(rows))
    silent = certificate(small_emo_db, rows)
    assert [fold["hash"] for fold in heard["folds"]] == [fold["hash"] for fold in silent["folds"]]
    assert heard["hash"] != silent["hash"]
    assert heard["audio"]["utterances"] == heard["audio"]["too_short_for_near_duplicates"] == 60
    assert heard["folds"][0]["sides"]["test"]["hours"] > 0


def test_protocols_that_declare_their_leaks_pass(small_emo_db: Path) -> None:
    rows = emo_db_rows(small_emo_db)
    written = certificate(small_emo_db, rows, "as_cnn_attn")
    assert written["passes"]
    declared = {finding["kind"] for finding in written["folds"][0]["findings"] if finding["verdict"] == "declared"}
    assert declared == {"validation is test", "speaker", "recording", "augmentation before split"}


def test_a_recording_that_cannot_be_decoded_stops_or_is_listed(tmp_path: Path) -> None:
    (tmp_path / "a1.wav").write_bytes(b"no sound")
    rows = [utterance("a1", path=tmp_path / "a1.wav")]
    with pytest.raises(AudioError, match=r"a1\.wav"):
        listen(rows)
    assert list(listen(rows, skip_bad=True).bad) == ["a1"]


def test_stretches_of_one_recording_are_heard_apart(tmp_path: Path) -> None:
    path = tmp_path / "session.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 8_000), 8_000)
    rows = [utterance("a1", path=path, end=0.25), utterance("b1", path=path, start=0.25)]
    heard = listen(rows)
    assert heard.seconds == {"a1": 0.25, "b1": 0.75}
    assert heard.identical == []


def test_near_duplicates_are_listed_by_their_names_whichever_was_heard_first(small_emo_db: Path) -> None:
    rows = emo_db_rows(small_emo_db)[:3]
    one, two, three = sorted(row.id for row in rows)
    for pairs in ([(two, one), (three, one)], [(one, three), (one, two)]):
        heard = sound(Split(rows, [], []), copies=pairs)
        written = certify(EmoDB(small_emo_db), rows, {}, sound=heard)
        assert written["audio"]["near_duplicates"] == [[one, two], [one, three]]


# Somebody else's split.

HERE = [utterance(key, LABELS[int(key[1]) - 1], path=Path("/corpus/wav") / f"{key}.wav") for key in ("a1", "a2", "b1", "b2")]


def read(tmp_path: Path, *lines: str, rows: Sequence[Utterance] = HERE, usable: Sequence[Utterance] | None = None) -> Any:
    path = tmp_path / "split.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_split(path, rows, rows if usable is None else usable, Path("/corpus"))


@pytest.mark.parametrize("name", ["{}", "wav/{}.wav", "/corpus/wav/{}.wav", "{}.wav"])
@pytest.mark.parametrize("validation", ["validation", "val", "valid", "dev", "Dev", "development"])
def test_a_split_names_ids_or_paths(tmp_path: Path, name: str, validation: str) -> None:
    column = "path" if name.endswith("wav") else "id"
    places = {"a1": "train", "a2": "train", "b1": validation, "b2": "test"}
    folds = read(tmp_path, f"{column},side", *(f"{name.format(key)},{side}" for key, side in places.items()))
    assert {name: [[row.id for row in side] for side in placed.split] for name, placed in folds.items()} == {
        "1": [["a1", "a2"], ["b1"], ["b2"]]
    }
    assert not folds["1"].findings


def test_a_split_of_a_table_has_the_paths_of_the_table(tmp_path: Path) -> None:
    names = {"a": "train", "b": "test"}
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.wav").touch()
    (tmp_path / "mine.csv").write_text("path,label,speaker\n" + "".join(f"{name}/1.wav,anger,{name}\n" for name in names))
    (tmp_path / "split.csv").write_text("path,side\n" + "".join(f"{name}/1.wav,{side}\n" for name, side in names.items()))
    rows = CSVTable(tmp_path / "mine.csv").release()
    placed = read_split(tmp_path / "split.csv", rows, rows, tmp_path / "mine.csv")["1"]
    assert [[row.id for row in side] for side in placed.split] == [["a/1"], [], ["b/1"]]


def test_a_split_may_begin_with_the_mark_that_spreadsheets_write(tmp_path: Path) -> None:
    split = read(tmp_path, "\ufeffid,side", "a1,train", "b1,test")["1"].split
    assert [row.id for row in split.train] == ["a1"]


def test_spaces_around_what_a_split_names_do_not_count(tmp_path: Path) -> None:
    folds = read(tmp_path, "id,side,fold", "a1 , train,1 ", "b1, test ,1", " a2,train ,2", "b2,test, 2")
    assert {fold: [[row.id for row in side] for side in placed.split] for fold, placed in folds.items()} == {
        "1": [["a1"], [], ["b1"]],
        "2": [["a2"], [], ["b2"]],
    }


def test_a_split_may_name_whole_paths_of_a_release_in_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [replace(row, path=Path("emo") / row.path.name) for row in HERE]
    split = read(tmp_path, "path,side", f"{tmp_path}/emo/a1.wav,train", f"{tmp_path}/emo/b1.wav,test", rows=rows)["1"].split
    assert [row.id for row in (*split.train, *split.test)] == ["a1", "b1"]


def test_folds_of_a_split_are_kept_apart(tmp_path: Path) -> None:
    lines = ["x,train,a1", "x,test,b1", "y,train,b1", "y,test,a1"]
    folds = read(tmp_path, "fold,side,id", *lines)
    assert [[row.id for row in folds[fold].split.test] for fold in ("x", "y")] == [["b1"], ["a1"]]


def test_a_split_with_a_leak_fails(tmp_path: Path) -> None:
    placed = read(tmp_path, "id,side", "a1,train", "b1,train", "b2,train", "a2,test", "b1,test")["1"]
    report = audit_split(placed.split, LABELS, findings=placed.findings)
    assert found(report) == [("speaker", TRAIN_TEST, 2), ("recording", TRAIN_TEST, 1)]
    assert found(report, "note") == [
        ("side without utterances", ("validation",), 1),
        ("session", TRAIN_TEST, 2),
        ("text", TRAIN_TEST, 1),
    ]


def test_augmented_names_in_a_split_are_rows(tmp_path: Path) -> None:
    lines = ["a1,train", "a2+noise,train", "b1,train", "b2,train", "a2+pitch+noise,test"]
    split, findings = read(tmp_path, "id,side", *lines)["1"]
    assert [row.id for row in split.test] == ["a2+pitch+noise"]
    assert not findings
    assert ("augmentation before split", TRAIN_TEST, 1) in found(audit_split(split, LABELS))


def test_what_a_split_names_wrongly_or_leaves_out_is_found(tmp_path: Path) -> None:
    lines = ["a1,train", "a1,train", "zz,train", "b1,test", "b2,test"]
    placed = read(tmp_path, "id,side", *lines, usable=HERE[:3])["1"]
    kinds = {finding.kind: (finding.count, finding.verdict, finding.examples) for finding in placed.findings}
    assert kinds == {
        "unknown utterance": (1, "fails", ("zz",)),
        "utterance that is left out": (1, "note", ()),
        "utterance listed twice on a side": (1, "note", ("a1",)),
        "utterance on no side": (1, "note", ("a2",)),
    }
    assert [row.id for row in placed.split.train] == ["a1"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name,side", "a1,train"], r"split\.csv: its columns are name, side\. Expected id or path, side"),
        ([""], "its columns are none"),
        (["id,side", "a1,train", "b1,eval"], r"line 3: id 'b1' with side 'eval'\. Expected a name, and train"),
        (["id,side", "a1"], "line 2: id 'a1' with side None"),
        (["id,side", "a1,train"], r"fold 1 has no known utterance of test\. Expected both, under ids such as a1 or paths"),
        (["id,side", "x,train", "y,test"], "no known utterance of train and test"),
    ],
)
def test_a_split_that_cannot_be_read_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        read(tmp_path, *lines)


def test_a_split_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="Cannot read the split"):
        read_split(tmp_path / "none.csv", HERE, HERE, Path("/corpus"))
    (tmp_path / "split.csv").write_bytes(b"id,side\n\xff\xfe,train\n")
    with pytest.raises(ProtocolError, match="Expected a CSV file in UTF-8"):
        read_split(tmp_path / "split.csv", HERE, HERE, Path("/corpus"))


def test_a_path_of_several_utterances_is_refused(tmp_path: Path) -> None:
    rows = [*HERE, replace(HERE[0], id="a1b", start=1.0)]
    with pytest.raises(ProtocolError, match=r"line 2: wav/a1\.wav stands for 2 utterances, such as a1, a1b"):
        read(tmp_path, "path,side", "wav/a1.wav,train", rows=rows)


# Real recordings.

needs_recordings = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"no recordings at {SHARED / 'data'}")


@needs_recordings
def test_recordings_of_emo_db_pass() -> None:
    root = SHARED / "data" / "emo_db"
    rows = emo_db_rows(root)[::2]
    rule = find_protocol("emo_db")
    written = certify(EmoDB(root), rows, protocol_folds(rule, rows), rule, listen(rows))
    assert written["passes"]
    assert written["audio"]["identical"] == written["audio"]["near_duplicates"] == []
    assert written["audio"]["too_short_for_near_duplicates"] == 0


@needs_recordings
def test_recordings_of_ravdess_pass_with_the_one_pair_that_is_known() -> None:
    root = SHARED / "data" / "ravdess"
    one_of_each_group = ("01", "07", "09", "13", "17", "21")
    rows = [row for row in RAVDESS(root).utterances() if row.speaker in one_of_each_group and row.intensity == "normal"]
    rule = find_protocol("ravdess")
    written = certify(RAVDESS(root), rows, protocol_folds(rule, rows), rule, listen(rows))
    assert written["passes"]
    assert written["audio"]["identical"] == [["03-01-03-01-02-01-07", "03-01-03-01-02-02-07"]]
    assert written["audio"]["near_duplicates"] == []
