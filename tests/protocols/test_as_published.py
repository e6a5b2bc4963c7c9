"""Protocols that repeat a paper, on releases with as many utterances as the real ones: who stands where, and what is shared."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache

import pytest

from ser_zoo.corpora import Utterance, create_corpus
from ser_zoo.data.audit import audit_split, certify, protocol_folds
from ser_zoo.protocols import Protocol, Row, Split, find_protocol, protocols_of
from ser_zoo.protocols.emobox import EmoBoxLists
from tests.protocols.test_protocols import HASHES
from tests.protocols.toy import speakers

Release = Callable[[str], list[Utterance]]
CORPORA = ("emovo", "iemocap", "tess")
REPEATED = [
    protocol
    for corpus in CORPORA
    for protocol in protocols_of(corpus).values()
    if protocol.world == "as_published" and not isinstance(protocol, EmoBoxLists)
]
CROSS = ("as_cross_attn", "as_cross_attn_sessions")
SESSIONS = (1085, 1023, 1151, 1031, 1241)
NINE = ("Ses01F", "Ses02M", "Ses02F", "Ses03M", "Ses03F", "Ses04M", "Ses04F", "Ses05M", "Ses05F")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """All utterances of a corpus's default task, from files without content."""

    @cache
    def utterances(corpus: str) -> list[Utterance]:
        root = importlib.import_module(f"tests.releases.{corpus}").write(tmp_path_factory.mktemp(corpus), None)
        return create_corpus(corpus, root).utterances()

    return utterances


def splits(protocol: Protocol, rows: list[Utterance]) -> list[Split]:
    return [placed.split for placed in protocol_folds(protocol, rows).values()]


def keys(side: list[Utterance]) -> set[str]:
    return {row.id for row in side}


# IEMOCAP.


@pytest.mark.parametrize(("name", "prefixes"), zip(CROSS, (NINE, [name[:5] for name in NINE[::2]]), strict=True))
def test_a_random_tenth_of_iemocap_is_tested_in_every_fold(release: Release, name: str, prefixes: list[str]) -> None:
    rows = release("iemocap")
    assert len(rows) == 5531
    found = splits(find_protocol("iemocap", name), rows)
    assert len(found) == len(prefixes)
    for split, prefix in zip(found, prefixes, strict=True):
        assert split.test == found[0].test
        assert keys(split.validation) == {row.id for row in rows if row.id.startswith(prefix)} - keys(split.test)
        assert keys(split.train) == keys(rows) - keys(split.validation) - keys(split.test)
    assert len(found[0].test) == 553
    assert len(speakers(found[0].test)) == 10
    assert found[0].test == splits(find_protocol("iemocap", CROSS[0]), rows)[0].test


@pytest.mark.parametrize("name", CROSS)
def test_what_validates_on_iemocap_is_what_the_training_reports(release: Release, name: str) -> None:
    rows = release("iemocap")
    tested, reported = (splits(find_protocol("iemocap", key), rows) for key in (name, f"{name}_validation"))
    assert [(split.train, split.validation, split.validation) for split in tested] == reported
    assert all(len(split.train) + len(split.test) == 5531 - 553 for split in reported)


def test_halves_of_a_session_share_their_speakers_and_sessions_do_not(release: Release) -> None:
    for name, share in (("as_cross_attn_validation", True), ("as_cross_attn_sessions_validation", False)):
        for split in splits(find_protocol("iemocap", name), release("iemocap")):
            assert len(speakers(split.test)) == 2
            assert bool(speakers(split.train) & speakers(split.test)) == share


@pytest.mark.parametrize(("name", "honest", "left_out"), [("as_co_attn", "lospo10", 1), ("as_co_attn_sessions", "loso5", 2)])
def test_who_is_left_out_of_iemocap_validates_and_is_tested(release: Release, name: str, honest: str, left_out: int) -> None:
    rows = release("iemocap")
    found = splits(find_protocol("iemocap", name), rows)
    assert [split.test for split in found] == [split.test for split in splits(find_protocol("iemocap", honest), rows)]
    for split in found:
        assert split.validation == split.test
        assert len(speakers(split.test)) == left_out
        assert len(speakers(split.train)) == 10 - left_out
        assert not speakers(split.train) & speakers(split.test)
    if left_out == 2:
        assert tuple(len(split.test) for split in found) == SESSIONS


# Rows of cnn_attn.


@pytest.mark.parametrize(("corpus", "made", "tested"), [("emovo", 2352, 471), ("tess", 11200, 2240)])
def test_a_fifth_of_all_rows_is_tested_as_in_the_notebooks(release: Release, corpus: str, made: int, tested: int) -> None:
    rows = release(corpus)
    (split,) = splits(find_protocol(corpus, "as_cnn_attn"), rows)
    assert (len(split.train), len(split.test)) == (made - tested, tested)
    assert split.validation == split.test
    assert keys([*split.train, *split.test]) == {
        f"{row.id}{variant}" for row in rows for variant in ("", "+noise", "+pitch", "+pitch+noise")
    }
    assert {row.variant for side in split for row in side if isinstance(row, Row)} == {
        ("noise",),
        ("pitch",),
        ("pitch", "noise"),
    }
    # 98.30 % of EMOVO and 98.75 % of TESS, with the files in the order of the authors' disk; by chance 1 - 0.2^3.
    assert split.test_rows_with_utterance_in_training == pytest.approx(0.99, abs=0.01)
    assert speakers(split.test) == speakers(split.train)


@pytest.mark.parametrize("corpus", ["crema_d", "ravdess", "savee"])
def test_nothing_is_called_a_repetition_where_the_rows_are_not_known(corpus: str) -> None:
    assert "as_cnn_attn" not in protocols_of(corpus)


# What is declared, and what stays.


@pytest.mark.parametrize("protocol", REPEATED, ids=lambda protocol: f"{protocol.corpus}-{protocol.name}")
def test_the_audit_finds_the_declared_leaks_and_no_other(release: Release, protocol: Protocol) -> None:
    rows = release(protocol.corpus)
    corpus = create_corpus(protocol.corpus, rows[0].path.parent)
    folds = protocol_folds(protocol, rows)
    declared = {*protocol.declared_leaks} | ({"augmentation before split"} if "recording" in protocol.declared_leaks else set())
    certificate = certify(corpus, rows, folds, protocol)
    assert certificate["passes"]
    assert certificate["protocol"]["declared_leaks"] == list(protocol.declared_leaks)
    for report, placed in zip(certificate["folds"], folds.values(), strict=True):
        assert {found["kind"] for found in report["findings"] if found["verdict"] == "declared"} == declared
        undeclared = audit_split(placed.split, corpus.labels)["findings"]
        assert {found["kind"] for found in undeclared if found["verdict"] == "fails"} == declared


@pytest.mark.parametrize(
    ("corpus", "name"),
    [("emo_db", "loso10"), ("emovo", "loso6"), ("iemocap", "loso5"), ("ravdess", "actors6"), ("tess", "loso2_wordval")],
)
def test_the_default_stays_honest(corpus: str, name: str) -> None:
    default = find_protocol(corpus)
    assert (default.name, default.world, default.version) == (name, "honest", 1)
    assert default.hash == HASHES[f"{corpus} {name} 1"]
