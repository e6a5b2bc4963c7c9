from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from ser_zoo.cli.leaderboard import resolve
from ser_zoo.corpora import create_corpus
from ser_zoo.corpora.manifest import places
from ser_zoo.data import SERDataModule
from ser_zoo.data.prepare import prepare
from ser_zoo.encoders.checkpoint import BUNDLED
from ser_zoo.errors import ProtocolError, SERZooError, UnknownNameError
from ser_zoo.leaderboard import grid as module
from ser_zoo.leaderboard.execute import difference
from ser_zoo.leaderboard.grid import Cell, digest, manifest_of, read_grid, shard
from tests.releases import ravdess_names, write_emo_db, write_ravdess

pytestmark = pytest.mark.filterwarnings("ignore:.*is not complete")
ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    "probe": {"model": {"name": "probe", "encoder": "openai/whisper-base"}},
    "egemaps": {"model": {"name": "egemaps"}, "trainer": {"max_epochs": 3}},
}


@pytest.fixture
def folder(tmp_path: Path, small_emo_db: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With recipes of two models for a corpus, which is found through the variable, and folders of encoders."""
    monkeypatch.setenv("SER_ZOO_DATA", str(small_emo_db.parent))
    monkeypatch.setenv("ENCODERS", str(tmp_path / "encoders"))
    for name, content in RECIPES.items():
        path = tmp_path / "recipes" / "emo_db" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({**content, "data": {"corpus": "emo_db"}}))
    for name in ("tiny", "base"):
        (tmp_path / "encoders" / name).mkdir(parents=True)
    return tmp_path


def cells(folder: Path, *runs: object, only: tuple[str, ...] = (), **defaults: object) -> list[Cell]:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({"runs": list(runs), **defaults}))
    return read_grid(path, resolve, only, write=False).cells


def run(**changes: object) -> dict[str, object]:
    return {"models": ["egemaps"], "corpora": ["emo_db"], **changes}


def test_the_seeds_of_a_run_stand_in_place_of_those_of_all(folder: Path) -> None:
    found = cells(folder, run(folds=[1], seeds=[3]), run(folds=[1], name="other"), seeds=[1, 2])
    assert [cell.group.rpartition("/")[2] for cell in found] == ["seed-3", "seed-1", "seed-2"]


def test_the_encoders_and_measures_of_a_run_stand_in_place_of_those_of_all(folder: Path) -> None:
    own = run(models=["probe"], folds=[1], encoders=["$ENCODERS/base"], measure=["robustness"])
    of_all = run(models=["probe"], folds=[1])
    found = cells(folder, own, of_all, encoders=["$ENCODERS/tiny"], measure=["profile"])
    assert [(cell.group.split("/")[3], cell.measures) for cell in found] == [("base", ("robustness",)), ("tiny", ("profile",))]


@pytest.mark.parametrize("encoder", ["./encoders/tiny", "~/encoders/tiny", "${ENCODERS}/tiny"])
def test_a_folder_of_an_encoder_is_found_from_the_file_and_from_home(
    encoder: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (found,) = cells(folder, run(models=["probe"], folds=[1]), encoders=[encoder])
    assert f"--model.encoder={folder}/encoders/tiny" in found.arguments


def test_folders_of_further_rows_lie_beside_the_file(folder: Path) -> None:
    (folder / "rows").mkdir()
    (folder / "grid.yaml").write_text(yaml.safe_dump({"runs": [run(folds=[1])], "durations": ["rows"]}))
    assert read_grid(folder / "grid.yaml", resolve, write=False).durations == (folder / "rows",)


def test_models_corpora_encoders_seeds_and_folds_are_multiplied(folder: Path) -> None:
    found = cells(
        folder,
        run(models=["probe", "egemaps"], folds=[2, 5], seeds=[1, 3]),
        encoders=["$ENCODERS/tiny", "facebook/hubert-base-ls960"],
    )
    groups = [
        *(f"probe/{encoder}/seed-{seed}" for encoder in ("tiny", "hubert-base-ls960") for seed in (1, 3)),
        *(f"egemaps/none/seed-{seed}" for seed in (1, 3)),  # which takes no encoder, and so stands there once
    ]
    assert [cell.id for cell in found] == [f"emo_db/loso10/{group}/fold-{fold}" for group in groups for fold in (2, 5)]
    assert found[0].arguments == (
        f"--config={folder}/recipes/emo_db/probe.yaml",
        f"--model.encoder={folder}/encoders/tiny",
        "--seed_everything=1",
    )
    assert found[0].kind == ("probe", "emo_db")
    assert len({cell.fingerprint for cell in found}) == len(found)


def test_all_folds_of_each_protocol_are_taken_by_default(folder: Path) -> None:
    found = cells(folder, run(protocols=["pairs5", "loso10"]))
    assert [cell.id.split("/")[1] for cell in found] == ["pairs5"] * 5 + ["loso10"] * 10
    assert "--data.protocol=pairs5" in found[0].arguments


def test_all_folds_are_those_that_the_release_allows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser_zoo.protocols.Protocol.folds_of", lambda self, utterances: 3)
    assert [cell.fold for cell in cells(folder, run(folds="all"))] == [1, 2, 3]


def test_what_a_model_costs_is_measured_once_and_robustness_on_every_fold(folder: Path) -> None:
    found = cells(folder, run(folds=[5, 2], seeds=[3, 1], measure=["profile", "robustness"]))
    assert {(cell.parts["config"]["seed_everything"], cell.fold): cell.measures for cell in found if "egemaps" in cell.id} == {
        (3, 2): ("profile", "robustness"),
        (3, 5): ("robustness",),
        (1, 2): (),
        (1, 5): (),
    }
    with pytest.raises(UnknownNameError, match=r"run 1.*measure.*robustnes.*robustness"):
        cells(folder, run(measure=["robustnes"]))


def test_one_configuration_with_further_arguments_and_a_name_of_its_own(folder: Path) -> None:
    one = {"config": "recipes/emo_db/egemaps.yaml", "name": "long", "folds": [1], "arguments": {"trainer.max_epochs": 9}}
    short, long = cells(folder, run(folds=[1]), one)
    assert long.id == "emo_db/loso10/long/none/seed-1/fold-1"
    assert "--trainer.max_epochs=9" in long.arguments
    assert (short.parts["config"]["trainer.max_epochs"], long.parts["config"]["trainer.max_epochs"]) == (3, 9)
    assert short.fingerprint != long.fingerprint


def test_a_run_that_is_sent_to_wandb_is_the_same_run(folder: Path) -> None:
    plain, sent = (cells(folder, run(folds=[1], arguments={"wandb": value}))[0] for value in (False, True))
    assert "--wandb=true" in sent.arguments
    assert sent.fingerprint == plain.fingerprint


def test_a_refit_stands_beside_the_same_run_without(folder: Path) -> None:
    plain, refit = cells(folder, run(folds=[1]), run(folds=[1], arguments={"refit": True}))
    assert (plain.id, refit.id) == (
        "emo_db/loso10/egemaps/none/seed-1/fold-1",
        "emo_db/loso10-refit/egemaps/none/seed-1/fold-1",
    )
    assert "--refit=true" in refit.arguments
    assert (
        difference({**plain.parts, "config": {k: v for k, v in plain.parts["config"].items() if k != "refit"}}, plain.parts)
        == ""
    )
    assert difference(plain.parts, refit.parts) == "refit was False, is True"


@pytest.mark.parametrize(
    ("only", "count"),
    [
        (("probe",), 10),
        (("emo_db/*/egemaps",), 10),
        (("fold-1",), 2),
        (("probe/*/fold-1", "egemaps/none"), 11),
        (("seed-1/fold-1*",), 4),
    ],
)
def test_only_names_whole_parts_of_an_id(folder: Path, only: tuple[str, ...], count: int) -> None:
    assert len(cells(folder, run(models=["probe", "egemaps"]), only=only)) == count


def test_only_reads_no_corpus_that_it_does_not_need(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(module._Corpora, "of", fail)
    with pytest.raises(SERZooError, match=r"matches --only ravdess\. There is: emo_db/loso10/egemaps/none/seed-1;"):
        cells(folder, run(), only=("ravdess",))


@pytest.mark.parametrize(
    ("runs", "defaults", "error", "text"),
    [
        ([run(model=["egemaps"])], {}, UnknownNameError, r"grid.yaml, run 1: Unknown key 'model'. Did you mean models"),
        ([run()], {"seed": [1]}, UnknownNameError, r"grid.yaml: Unknown key 'seed'. Did you mean seeds"),
        ([run(models=["egemap"])], {}, UnknownNameError, r"run 1, models: .*'egemap'. Did you mean egemaps\? .*recipes/emo_db"),
        ([run(corpora=["emodb"])], {}, UnknownNameError, r"run 1, corpora: .*'emodb'. Did you mean emo_db"),
        (
            [run(), run(protocols=["loso"])],
            {},
            UnknownNameError,
            r"run 2: Unknown protocol of emo_db 'loso'. Did you mean loso10",
        ),
        ([run(folds=[11])], {}, ProtocolError, r"run 1: Protocol loso10 of emo_db has folds 1 to 10; fold 11"),
        ([run(folds="first")], {}, SERZooError, r"run 1, folds: found 'first'. Expected a list of whole numbers"),
        ([run(folds=[1, 1, 2])], {}, SERZooError, r"run 1, folds: found \[1, 1, 2\]. Expected each fold once"),
        ([run(folds=[])], {}, SERZooError, r"run 1, folds: found \[\]. Expected each fold once"),
        ([run(arguments={"seed_everything": 3})], {}, SERZooError, r"run 1, arguments: seed_everything .*in its place: seeds"),
        ([run(arguments={"data.fold": 3})], {}, SERZooError, r"run 1, arguments: data.fold .*in its place: folds of the run"),
        ([run(arguments={"model.name": "probe"})], {}, SERZooError, r"run 1, arguments: model.name .*in its place: models"),
        (
            [run(models=["probe"], arguments={"model.encoder": "pico"})],
            {"encoders": ["$ENCODERS/tiny"]},
            SERZooError,
            r"run 1, arguments: model.encoder is pico, and encoders has \$ENCODERS/tiny. Expected one of the two",
        ),
        ([run(seeds="1")], {}, SERZooError, r"run 1, seeds: found '1'. Expected a list of whole numbers"),
        ([run(seeds=[True])], {}, SERZooError, r"run 1, seeds"),
        ([run(seeds=[2, -1])], {}, SERZooError, r"run 1, seeds: found -1. Expected 0 to 4294967295"),
        ([run(seeds=[2**32])], {}, SERZooError, r"run 1, seeds: found 4294967296"),
        ([run()], {"durations": ["rows"]}, SERZooError, r"durations: there is no folder .*rows"),
        ([run(name=None)], {}, SERZooError, r"run 1, name: found None"),
        ([run(name=2024)], {}, SERZooError, r"run 1, name: found 2024\. .* quotes around"),
        ([run(name="../x")], {}, SERZooError, r"run 1, name: found '../x'"),
        ([run(arguments=["x"])], {}, SERZooError, r"run 1, arguments"),
        ([run(arguments={"trainer.epochs": 3})], {}, SERZooError, r"run 1: ser-zoo fit refuses .*trainer.epochs"),
        ([run(), run(seeds=[2, 1])], {}, SERZooError, r"run 2: emo_db/loso10/egemaps/none/seed-1 is that of run 1"),
        ([run(config="x.yaml")], {}, SERZooError, r"run 1 has config and models"),
        ([{"config": "x.yaml", "corpora": ["emo_db"]}], {}, SERZooError, r"run 1 has config and corpora"),
        ([{"config": "x.yaml"}], {}, SERZooError, r"run 1, config: there is no file .*x.yaml"),
        ([{"models": ["egemaps"]}], {}, SERZooError, r"run 1 names nothing to run"),
        ([], {}, SERZooError, r"runs: found \[\]. Expected a list"),
        (["egemaps"], {}, SERZooError, r"run 1: found 'egemaps'. Expected a mapping with the keys models, corpora"),
        ([run(models=["probe"])], {"encoders": ["$NO_SUCH/tiny"]}, SERZooError, r"variable NO_SUCH, .*folder that holds tiny"),
        ([run(models=["probe"])], {"encoders": ["${NO_SUCH}/tiny"]}, SERZooError, r"environment variable NO_SUCH"),
        ([run(models=["probe"])], {"encoders": ["$ENCODERS/large"]}, SERZooError, r"there is no folder .*encoders/large"),
    ],
)
def test_mistakes_are_named_with_their_place(
    folder: Path, runs: list[object], defaults: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        cells(folder, *runs, **defaults)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("runs: [")
    with pytest.raises(SERZooError, match=r"Cannot read the grid .*grid\.yaml"):
        read_grid(tmp_path / "grid.yaml", resolve)


def test_a_file_that_has_a_key_twice_is_refused_and_not_run_in_part(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text("seeds: [1, 2, 3]\nruns: []\nseeds: [1]\n")
    with pytest.raises(SERZooError, match=r"(?s)Cannot read the grid .*the key 'seeds' stands there twice.*line 3"):
        read_grid(tmp_path / "grid.yaml", resolve)


def test_where_things_lie_is_no_part_of_the_fingerprint(
    folder: Path, small_emo_db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = run(models=["probe"], folds=[1])
    (first,) = cells(folder, asked, encoders=["$ENCODERS/tiny"])
    (folder / "elsewhere" / "tiny").mkdir(parents=True)
    monkeypatch.setenv("ENCODERS", str(folder / "elsewhere"))
    monkeypatch.delenv("SER_ZOO_DATA")
    arguments = {"data.root": str(small_emo_db), "data.num_workers": 2, "trainer.enable_model_summary": False}
    (second,) = cells(folder, {**asked, "arguments": arguments, "protocols": ["loso10"]}, encoders=["$ENCODERS/tiny"])
    assert second.arguments != first.arguments
    assert second.fingerprint == first.fingerprint
    assert str(folder) not in json.dumps(first.parts)
    assert str(small_emo_db) not in json.dumps(second.parts)


@pytest.mark.parametrize(
    "change",
    [
        {"model.projection": 16},
        {"data.batch_size": 8},
        {"trainer.max_epochs": 1},
        {"monitor": "last"},
        {"patience": 3},
        {"refit": True},
    ],
)
def test_what_decides_a_number_is_part_of_the_fingerprint(folder: Path, change: dict[str, object]) -> None:
    asked = run(models=["probe"], folds=[1])
    (first,) = cells(folder, asked)
    (second,) = cells(folder, {**asked, "arguments": change})
    assert second.fingerprint != first.fingerprint


def test_the_version_is_part_of_the_fingerprint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = cells(folder, run(folds=[1]))
    monkeypatch.setattr(module, "__version__", "99")
    (second,) = cells(folder, run(folds=[1]))
    assert second.fingerprint != first.fingerprint


def test_other_weights_of_an_encoder_in_the_package_are_part_of_the_fingerprint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cell(weights: bytes) -> Cell:
        (folder / "model.safetensors").write_bytes(weights)
        monkeypatch.setitem(BUNDLED, "pico", folder)
        (found,) = cells(folder, run(models=["probe"], folds=[1]), encoders=["pico"])
        return found

    first, second = cell(b"before"), cell(b"after")
    assert second.id == first.id
    assert second.fingerprint != first.fingerprint
    assert difference(first.parts, second.parts).startswith("encoder.weights was ")


def test_the_digest_of_a_release_follows_its_audio_and_not_its_place_or_time(tmp_path: Path) -> None:
    roots = [write_emo_db(tmp_path / name / "emo_db", ["03"], "WN", 1) for name in "ab"]
    os.utime(sorted((roots[1] / "wav").iterdir())[0], (1, 1))
    corpora = [create_corpus("emo_db", root) for root in roots]
    first, second = (digest(manifest_of(corpus, write=False)) for corpus in corpora)
    assert first == second
    assert digest(prepare(corpora[1]).manifest) == first
    assert digest(manifest_of(corpora[1], write=False)) == first  # read from the manifest that is there now
    recordings = sorted((roots[0] / "wav").iterdir())
    recordings[0].write_bytes(recordings[1].read_bytes())
    assert digest(manifest_of(corpora[0], write=False)) != first


@pytest.mark.parametrize("change", [{"label": "fear"}, {"speaker": "08"}, {"text": "a02"}])
def test_the_digest_of_a_release_follows_what_is_said_of_an_utterance(change: dict[str, str], tmp_path: Path) -> None:
    manifest = manifest_of(create_corpus("emo_db", write_emo_db(tmp_path / "emo_db", ["03"], "WN", 1)), write=False)
    first, *others = manifest.entries
    changed = replace(first, utterance=replace(first.utterance, **change))  # type: ignore[arg-type]
    assert digest(replace(manifest, entries=[changed, *others])) != digest(manifest)


def test_a_grid_tells_releases_and_labels_apart_and_names_all_corpora_of_a_run(tmp_path: Path) -> None:
    for name, takes in (("a", 1), ("b", 2)):
        write_emo_db(tmp_path / name / "emo_db", ["03", "08"], "WNL", takes)
        write_ravdess(tmp_path / name / "ravdess", ravdess_names(["03", "08"], takes=takes))
    corpora = module._Corpora(write=False)
    one, other, fewer = (
        corpora.of(SERDataModule("emo_db", str(tmp_path / name / "emo_db"), labels=labels))
        for name, labels in (("a", None), ("b", None), ("b", "common4"))
    )
    assert [len(utterances) for utterances, _ in (one, other, fewer)] == [6, 12, 8]
    assert one[1] != other[1] == fewer[1]
    _, several = corpora.of(SERDataModule("emo_db,ravdess", str(tmp_path / "a")))
    ravdess = digest(manifest_of(create_corpus("ravdess", tmp_path / "a" / "ravdess"), write=False))
    assert several == f"{one[1]}+{ravdess}"


def test_a_grid_that_is_only_looked_at_writes_no_manifest(folder: Path) -> None:
    root = write_emo_db(folder / "mine", takes=1, emotions="WTN")
    cells(folder, run(folds=[1], arguments={"data.root": str(root)}))
    assert not any(path.exists() for path in places(create_corpus("emo_db", root)))


def test_a_manifest_is_written_only_when_asked(tmp_path: Path) -> None:
    corpus = create_corpus("emo_db", write_emo_db(tmp_path / "emo_db", ["03"], "WN", 1))
    manifest_of(corpus, write=False)
    assert not any(path.exists() for path in places(corpus))
    manifest_of(corpus, write=True)
    assert any(path.exists() for path in places(corpus))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shards_are_disjoint_and_complete(count: int) -> None:
    every = [Cell(f"group-{number % 4}", number, (), {}) for number in range(23)]
    parts = [shard(every, f"{number}/{count}") for number in range(1, count + 1)]
    assert sorted(cell.fold for part in parts for cell in part) == list(range(23))


@pytest.mark.parametrize("part", ["0/2", "3/2", "1", "a/b", "-1/2", "1/2/3"])
def test_a_shard_that_is_none_is_refused(part: str) -> None:
    with pytest.raises(SERZooError, match="Expected i/n with i from 1 to n"):
        shard([], part)


def test_the_grid_of_the_repository_has_every_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("whisper-base-encoder", "whisper-tiny-en-encoder"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SER_ZOO_ENCODERS", str(tmp_path))
    monkeypatch.setattr(module._Corpora, "of", lambda self, data: ([], "0" * 12))
    monkeypatch.setattr("ser_zoo.protocols.Protocol.folds_of", lambda self, utterances: self.folds)
    found = read_grid(ROOT / "benchmarks" / "leaderboard.yaml", resolve).cells
    honest = {
        tuple(cell.group.split("/")[i] for i in (0, 2)) for cell in found if cell.group.split("/")[1] in ("loso10", "actors6")
    }
    recipes = {
        (path.parent.name, path.stem)
        for path in (ROOT / "recipes").glob("*/*.yaml")
        if path.parent.name not in ("demo", "sweeps")
    }
    variants = {(corpus, "probe_bfloat16") for corpus in ("emo_db", "ravdess")}
    variants |= {("ravdess", name) for name in ("cross_attn_finetuned", "cta_rnn_finetuned", "cta_rnn_members")}
    assert honest - recipes == variants
    assert recipes <= honest
    assert any("/as_cnn_attn/" in cell.id for cell in found)
