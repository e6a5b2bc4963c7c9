"""The rule of each kind of protocol, and what it refuses."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ser_zoo.corpora import Utterance
from ser_zoo.errors import LeakError, ProtocolError
from ser_zoo.protocols import Split, check_split, find_protocol
from ser_zoo.protocols.kinds import (
    Hashed,
    HeldOutTexts,
    HeldOutUtterances,
    Listed,
    Official,
    PartialRotation,
    Prefixes,
    RandomFolds,
    Ranked,
    TextIndependent,
    ranked,
)
from tests.protocols.toy import content, ids, speakers, utterance, utterances

PARTIAL = PartialRotation(
    name="partial",
    corpus="toy",
    version=1,
    groups=(("a",), ("b",), ("c",)),
    training=("t",),
    left_out=("x",),
    source="a test",
)
LISTED = Listed(
    name="listed",
    corpus="toy",
    version=1,
    members=("a", "b", "c", "d"),
    tests=(("a",), ("b", "c")),
    validations=(("b",), ("a",)),
    left_out=("d-1",),
    source="a test",
)
RANKED = Ranked(name="ranked", corpus="toy", version=1, number=3, singly=5, source="a test")
HASHED = Hashed(name="hashed", corpus="toy", version=1, number=3, source="a test")
OFFICIAL = Official(name="official", corpus="toy", version=1, source="a test")
WORDS = HeldOutTexts(
    name="words",
    corpus="toy",
    version=1,
    groups=(("a",), ("b",)),
    texts=("v",),
    source="a test",
    declared_leaks=("validation speaker",),
)
UTTERANCES = HeldOutUtterances(
    name="some",
    corpus="toy",
    version=1,
    groups=(("a",), ("b",), ("c",)),
    parts=5,
    seed=0,
    copies=("b-0",),
    source="a test",
    declared_leaks=("validation speaker",),
)
TEXTS = TextIndependent(
    name="texts",
    corpus="toy",
    version=1,
    groups=(("a",), ("b",), ("c",), ("d",)),
    texts=(("1", "2"), ("3",)),
    source="a test",
)
RANDOM = RandomFolds(
    name="random",
    corpus="toy",
    version=1,
    number=5,
    seed=0,
    source="a test",
    world="as_published",
    declared_leaks=("speaker",),
)

PREFIXES = Prefixes(
    name="prefixes",
    corpus="toy",
    version=1,
    prefixes=("x1", "x2"),
    share=0.1,
    seed=42,
    source="a test",
    world="as_published",
    declared_leaks=("speaker",),
)


def saying(speakers: str, texts: str) -> list[Utterance]:
    return [utterance(f"{speaker}{text}", speaker, text=text) for speaker in speakers for text in texts]


def kept_apart(split: Split) -> list[set[str]]:
    return [speakers(side) for side in split]


# Rotations with exceptions.


def test_some_train_always_and_some_never_take_part() -> None:
    splits = [PARTIAL.split(fold, utterances("abctx")) for fold in (1, 2, 3)]
    assert [kept_apart(split) for split in splits] == [
        [{"c", "t"}, {"b"}, {"a"}],
        [{"a", "t"}, {"c"}, {"b"}],
        [{"b", "t"}, {"a"}, {"c"}],
    ]


def test_somebody_who_is_neither_in_nor_out_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"partial does not place speaker z \(utterance z-0\)\. It knows a, b, c, t\."):
        PARTIAL.split(1, utterances("abctxz"))


def test_all_others_can_be_left_out() -> None:
    assert kept_apart(replace(PARTIAL, left_out=None).split(1, utterances("abctxyz"))) == [{"c", "t"}, {"b"}, {"a"}]


def test_what_is_missing_names_those_who_always_train() -> None:
    with pytest.raises(ProtocolError, match="no train utterances: speaker c, t is not in this incomplete release"):
        PARTIAL.split(1, utterances("ab"))


# Lists.


def test_who_is_listed_for_no_side_trains() -> None:
    assert ids(LISTED.split(2, utterances("abcd", takes=2))) == [["d-0"], ["a-0", "a-1"], ["b-0", "b-1", "c-0", "c-1"]]


def test_a_list_refuses_whom_it_does_not_know() -> None:
    with pytest.raises(ProtocolError, match="listed does not place speaker e"):
        LISTED.split(1, utterances("abcde"))


@pytest.mark.parametrize(("tests", "validations"), [((("a",),), (("a", "b"),)), ((("e",),), (("b",),))])
def test_a_list_with_somebody_twice_or_unknown_is_refused(
    tests: tuple[tuple[str, ...], ...], validations: tuple[tuple[str, ...], ...]
) -> None:
    with pytest.raises(ValueError, match="listed: somebody tests and validates, or is no member"):
        replace(LISTED, tests=tests, validations=validations)


def test_an_empty_side_of_a_list_names_who_is_missing() -> None:
    with pytest.raises(ProtocolError, match="Fold 1 of protocol listed has no validation utterances: speaker b is not in"):
        LISTED.split(1, utterances("acd"))


# Groups that are computed.


def test_speakers_are_dealt_by_the_order_of_their_numbers_and_by_gender() -> None:
    assert ranked(3, ["f10", "f9", "f1", "f2"], ["m2", "m1"]) == (("f1", "f10", "m1"), ("f2", "m2"), ("f9",))
    women, men = ([f"{letter}{number}" for number in range(1, 7)] for letter in "fm")
    rows = [utterance(speaker, speaker, gender="female" if speaker in women else "male") for speaker in women + men]
    for speaker, usual, mistaken in (("f1", "female", "male"), ("m1", "male", "female")):
        rows += [utterance(f"{speaker} again", speaker, gender=usual), utterance(f"{speaker} x", speaker, gender=mistaken)]
    assert RANKED.folds_of(rows) == 3
    assert speakers(RANKED.split(2, rows).test) == {"f2", "f5", "m2", "m5"}


def test_few_speakers_are_each_a_group() -> None:
    rows = utterances(["2", "10", "1", "3"])
    assert (RANKED.folds, RANKED.folds_of(rows)) == (5, 4)
    assert [speakers(RANKED.split(fold, rows).test) for fold in (1, 2, 3, 4)] == [{"1"}, {"2"}, {"3"}, {"10"}]
    with pytest.raises(ProtocolError, match="has folds 1 to 4; fold 5 was asked for"):
        RANKED.split(5, rows)


def test_with_one_speaker_more_than_are_groups_alone_they_are_dealt() -> None:
    assert [RANKED.folds_of(utterances("abcdef"[:number])) for number in (5, 6)] == [5, 3]
    assert speakers(RANKED.split(5, utterances("abcde")).test) == {"e"}


def test_a_speaker_of_both_genders_equally_often_is_dealt_alike_in_any_order_of_utterances() -> None:
    rows = [utterance(f"{key}-{gender}", key, gender=gender) for key in "abcdef" for gender in ("female", "male")]
    rows += [utterance(key, key, gender="male") for key in "bd"]
    tested = [speakers(RANKED.split(fold, rows).test) for fold in (1, 2, 3)]
    assert tested == [speakers(RANKED.split(fold, rows[::-1]).test) for fold in (1, 2, 3)] == [set("abf"), set("cd"), set("e")]


def test_the_groups_do_not_change_with_the_order_in_which_genders_are_listed() -> None:
    assert ranked(2, ["m1", "m2"], ["f1", "f2", "f3"]) == ranked(2, ["f3", "f1", "f2"], ["m2", "m1"])


def test_too_few_speakers_for_three_sides_are_refused() -> None:
    with pytest.raises(ProtocolError, match=r"only 2: a, b\. Expected 3 or more\. Use the corpus as test data .* random5"):
        RANKED.split(1, utterances("ab"))


@pytest.mark.parametrize("corpus", ["csv", "audformat"])
def test_any_table_is_split_by_speaker_or_as_it_says(corpus: str) -> None:
    rows = utterances("abc")
    assert find_protocol(corpus).folds_of(rows) == 3
    assert find_protocol(corpus).folds_of(utterances([str(number) for number in range(11)])) == 5
    stated = [replace(row, split=split) for row, split in zip(rows[::3], ("train", "test", "validation"), strict=True)]
    assert ids(find_protocol(corpus, "official").split(1, stated)) == [["a-0"], ["c-0"], ["b-0"]]


def test_speakers_are_grouped_by_the_remainder_of_their_hash() -> None:
    rows = utterances(["00000003ff", "00000004aa", "00000005cc", "fffffffe11"])  # 2**32 - 2 leaves 2
    assert kept_apart(HASHED.split(3, rows)) == [{"00000004aa"}, {"00000003ff"}, {"00000005cc", "fffffffe11"}]


def test_a_speaker_who_is_no_hash_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"utterance Anna-0 has speaker Anna\. Expected the release's own ids"):
        HASHED.split(1, utterances(["00000003ff", "Anna"]))


def test_a_group_without_speakers_is_refused() -> None:
    with pytest.raises(ProtocolError, match="no test utterances: nobody of the test group is in this incomplete release"):
        HASHED.split(1, utterances(["00000004aa", "00000005cc"]))


# Sides that the release states.


def test_the_release_states_the_sides() -> None:
    rows = [utterance(side, side, split=side) for side in ("test", "train", "validation")]
    assert ids(OFFICIAL.split(1, rows)) == [["train"], ["validation"], ["test"]]


@pytest.mark.parametrize(("split", "said"), [(None, "not given"), ("dev", "dev")])
def test_a_side_that_is_not_stated_is_refused(split: str | None, said: str) -> None:
    with pytest.raises(ProtocolError, match=f"that of utterance x is {said}. Expected train, validation, test"):
        OFFICIAL.split(1, [utterance("x", "x", split=split)])


def test_an_official_split_without_a_side_is_to_be_given_one_in_its_table() -> None:
    rows = [utterance("a", "a", split="train"), utterance("b", "b", split="test")]
    with pytest.raises(
        ProtocolError, match=r"has no validation utterances: .*Complete the release \(a table of your own: its column split\)"
    ):
        OFFICIAL.split(1, rows)


def test_an_official_split_that_shares_speakers_is_found_out() -> None:
    rows = [utterance(side, speaker, split=side) for side, speaker in zip(("train", "validation", "test"), "aba", strict=True)]
    split = OFFICIAL.split(1, rows)
    with pytest.raises(LeakError, match="the same speaker is in train and in test: a"):
        check_split(split, OFFICIAL, content(split))


# Texts.


def test_one_speaker_trains_and_validates_with_other_texts() -> None:
    splits = [WORDS.split(fold, saying("ab", "uvw")) for fold in (1, 2)]
    assert [ids(split) for split in splits] == [
        [["bu", "bw"], ["bv"], ["au", "av", "aw"]],
        [["au", "aw"], ["av"], ["bu", "bv", "bw"]],
    ]
    for split in splits:
        check_split(split, WORDS, content(split))


def test_a_text_on_both_sides_of_held_out_texts_is_found() -> None:
    split = Split(saying("b", "uv"), saying("b", "v"), saying("a", "uv"))
    with pytest.raises(LeakError, match="the same recording is in train and in validation"):
        check_split(split, WORDS, content(split))
    again = [utterance("again", "b", text="v")]
    with pytest.raises(LeakError, match=r"the same text is in train and in validation: v \(bv, again\)"):
        check_split(Split(split.train, again, split.test), WORDS, content(split) | {"again": "new"})


def test_held_out_texts_must_declare_the_validation_speaker() -> None:
    with pytest.raises(ValueError, match="words: training and validation share speakers; declare it"):
        replace(WORDS, declared_leaks=())


def test_held_out_texts_that_nobody_says_are_refused() -> None:
    with pytest.raises(ProtocolError, match="has no validation utterances: text v by another speaker is not in"):
        WORDS.split(1, saying("ab", "u"))


def test_a_part_of_every_class_of_all_who_are_not_tested_validates() -> None:
    rows = utterances("abc", takes=10)
    splits = [UTTERANCES.split(fold, rows) for fold in (1, 2, 3)]
    assert [speakers(split.test) for split in splits] == [{"a"}, {"b"}, {"c"}]
    for split in splits:
        check_split(split, UTTERANCES, content(split))
        assert sorted(row.id for side in split for row in side) == sorted(row.id for row in rows)
        labels = Counter(row.label for row in split.validation)
        assert set(labels) == {row.label for row in rows}
        assert max(labels.values()) - min(labels.values()) <= 1
        assert len(split.validation) in (3, 4)  # of 20, or of 19 without the copy
        assert "b-0" not in {row.id for row in split.validation}
    drawn = [{row.id for row in split.validation} for split in (splits[0], replace(UTTERANCES, seed=1).split(1, rows))]
    assert drawn[0] != drawn[1]


def test_an_utterance_whose_audio_another_has_validates_under_no_seed() -> None:
    rows = utterances("abc", takes=10)
    splits = [replace(UTTERANCES, seed=seed).split(1, rows) for seed in range(20)]
    assert "b-1" in {row.id for split in splits for row in split.validation}
    assert all("b-0" in {row.id for row in split.train} for split in splits)


def test_held_out_utterances_must_be_there_and_declared() -> None:
    with pytest.raises(ValueError, match="some: training and validation share speakers; declare it"):
        replace(UTTERANCES, declared_leaks=())
    with pytest.raises(ProtocolError, match="has no train utterances"):
        UTTERANCES.split(1, utterances("a", takes=10) + utterances("c", takes=1))


def test_neither_the_text_nor_the_speaker_of_a_test_is_heard_before() -> None:
    rows = saying("abcd", "123")
    assert TEXTS.folds == 8
    assert ids(TEXTS.split(1, rows)) == [["c3", "d3"], ["b3"], ["a1", "a2"]]
    assert ids(TEXTS.split(8, rows)) == [["b1", "b2", "c1", "c2"], ["a1", "a2"], ["d3"]]
    counts = Counter(row.id for fold in range(1, 9) for row in TEXTS.split(fold, rows).test)
    assert counts == dict.fromkeys((row.id for row in rows), 1)


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_text_that_is_heard_before_is_found(side: str) -> None:
    split = TEXTS.split(1, saying("abcd", "123"))
    getattr(split, side).append(utterance("new", getattr(split, side)[0].speaker, text="2"))
    with pytest.raises(LeakError, match=f"the same text is in {side} and in test: 2"):
        check_split(split, TEXTS, content(split))


@pytest.mark.parametrize("protocol", [TEXTS, WORDS], ids=lambda protocol: protocol.name)
def test_a_text_that_is_not_known_is_refused(protocol: TextIndependent | HeldOutTexts) -> None:
    with pytest.raises(ProtocolError, match="places texts, but that of b-0 is not known"):
        protocol.split(1, utterances("b"))


def test_a_text_that_is_not_listed_is_refused() -> None:
    with pytest.raises(ProtocolError, match=r"does not place text 9 \(utterance a9\)\. It knows 1, 2, 3\."):
        TEXTS.split(1, saying("a", "9"))


def test_texts_refuse_a_speaker_who_is_not_listed() -> None:
    with pytest.raises(ProtocolError, match="does not place speaker e"):
        TEXTS.split(1, saying("e", "1"))


def test_what_is_missing_names_who_says_what() -> None:
    with pytest.raises(ProtocolError, match="no validation utterances: speaker b saying a text other than 1, 2 is not in"):
        TEXTS.split(1, saying("acd", "123"))


@pytest.mark.parametrize("change", [{"groups": (("a",), ("b",))}, {"texts": (("1",),)}])
def test_texts_need_three_groups_of_speakers_and_two_of_texts(change: dict[str, tuple[tuple[str, ...], ...]]) -> None:
    with pytest.raises(ValueError, match="three sides need 3 groups of speakers and 2 of texts"):
        replace(TEXTS, **change)  # type: ignore[arg-type]


# Random folds.


def test_random_folds_have_equally_many_of_each_class() -> None:
    rows = [
        utterance(f"{label}{number}", "a", label=label) for label, count in (("x", 23), ("y", 9)) for number in range(count)
    ]
    splits = [RANDOM.split(fold, rows) for fold in range(1, 6)]
    for split in splits:
        counts = Counter(row.label for row in split.test)
        assert counts["x"] in (4, 5)
        assert counts["y"] in (1, 2)
        assert len(split.test) in (6, 7)
    assert all(splits[fold].validation == splits[(fold + 1) % 5].test for fold in range(5))
    assert sorted(row.id for split in splits for row in split.test) == sorted(row.id for row in rows)


# Folds by names.


def named(speakers: str = "ab", takes: int = 5) -> list[Utterance]:
    """Everybody is in every group of names, ``x1a0`` and so on."""
    return [utterance(f"{group}{who}{take}", who) for group in ("x1", "x2", "y") for who in speakers for take in range(takes)]


def test_what_begins_with_a_prefix_validates_and_a_random_share_is_tested() -> None:
    splits = [PREFIXES.split(fold, named()) for fold in (1, 2)]
    assert splits[0].test == splits[1].test
    assert len(splits[0].test) == 3  # of 30
    for split, prefix in zip(splits, ("x1", "x2"), strict=True):
        tested = ids(split)[2]
        assert ids(split)[1] == [row.id for row in named() if row.id.startswith(prefix) and row.id not in tested]
        assert ids(split)[0] == [row.id for row in named() if not row.id.startswith(prefix) and row.id not in tested]
    assert replace(PREFIXES, seed=1).split(1, named()).test != splits[0].test


def test_a_share_is_rounded_down() -> None:
    assert len(PREFIXES.split(1, named()[1:]).test) == 2  # of 29


def test_what_validates_is_tested_instead_of_the_random_share() -> None:
    told = replace(PREFIXES, declared_leaks=("speaker", "validation is test"))
    for fold in (1, 2):
        split, other = told.split(fold, named()), PREFIXES.split(fold, named())
        assert split == (other.train, other.validation, other.validation)


@pytest.mark.parametrize(
    ("rows", "wanting"),
    [
        ([row for row in named() if not row.id.startswith("x2")], "validation utterances: nothing that begins with x2 is in"),
        (named(takes=1), "test utterances: too few utterances are in"),
    ],
)
def test_a_side_by_names_that_is_empty_is_refused(rows: list[Utterance], wanting: str) -> None:
    with pytest.raises(ProtocolError, match=f"Fold 2 of protocol prefixes has no {wanting} this incomplete release"):
        PREFIXES.split(2, rows)


def test_the_seed_decides_a_random_fold() -> None:
    rows = utterances("abc", takes=10)
    assert ids(replace(RANDOM, seed=1).split(1, rows)) != ids(RANDOM.split(1, rows))


def test_too_few_utterances_for_a_random_fold_are_refused() -> None:
    with pytest.raises(ProtocolError, match="has no test utterances: too few utterances are in"):
        RANDOM.split(5, utterances("a"))
