"""What fit and profile say of a value that does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from ser_zoo.cli import main
from ser_zoo.cli.parser import in_words

FIT = ["fit", "--model=cross_attn", "--data=emo_db"]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The last line of what the command says before it ends with status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--data.batch_size", "1.5", "1.5: expected a whole number."),
        ("--model.optim.lr", "fast", "fast: expected a number."),
        ("--data.balanced", "maybe", "maybe: expected true or false."),
        ("--refit", "maybe", "maybe: expected true or false."),
        ("--trainer.max_epochs", "abc", "abc: expected a whole number or null."),
        ("--data.speeds", "0.9", "0.9: expected a list such as [0.9]."),
        ("--data.augment", "null", "None: expected a list such as []."),
        ("--data.speeds", "[a]", "a: expected a number."),
        ("--model.layers", "1,2", "1,2: expected a list such as [1,2]."),
        ("--data.snr_db", "[1]", "[1]: expected a list of 2 values."),
        ("--data.augment", "[nois]", "nois: expected one of noise, speed, pitch, vtlp, reverb. Did you mean noise?"),
        ("--model.encoder_options.precision", "fp8", "fp8: expected one of float32, bfloat16."),
        (
            "--trainer.logger",
            "Foo",
            "Foo: expected the import path of a class or a list such as [Foo] or true or false or null.",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_fits(
    option: str, value: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused([*FIT, option, value], capsys) == f"error: {option} {told}"


def test_an_element_that_does_not_fit_a_list_that_may_be_null_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(["fit", "--model", "probe", "--data", "demo", "--model.layers", "[2.5]"], capsys)
    assert told == "error: --model.layers [2.5]: expected a whole number or null."


def test_a_value_of_a_file_is_told_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("trainer:\n  max_epochs: abc\n")
    told = refused([*FIT, f"--config={tmp_path / 'c.yaml'}"], capsys)
    assert told == "error: --trainer.max_epochs abc: expected a whole number or null."


@pytest.mark.parametrize("content", ["[1]", "3", "", "hello"])
@pytest.mark.parametrize("option", ["--trainer", "--model.optim"])
def test_a_file_that_holds_no_arguments_of_a_group_is_told(
    option: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path := tmp_path / "c.yaml").write_text(content)
    for value in (content, str(path)):
        told = f"error: {option} {value}: expected arguments as {{NAME: VALUE}}, or a YAML file of such."
        assert refused([*FIT, option, value], capsys) == told


def test_a_file_that_is_no_yaml_or_no_text_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path := tmp_path / "c.yaml").write_bytes(b"max_epochs:\n\t3")
    told = refused([*FIT, "--trainer", str(path)], capsys)
    assert told.startswith(f"error: --trainer {path}: expected arguments as {{NAME: VALUE}}, or a YAML file of such (while ")
    path.write_bytes(b"\xff")
    told = refused([*FIT, "--trainer", str(path)], capsys)
    assert told.startswith("error: A file that is named for arguments is no text ('utf-8'")


@pytest.mark.parametrize(
    ("group", "name", "argument", "told"),
    [
        ("logger", "CSVLogger", "flush_logs_every_n_steps=a", "--flush_logs_every_n_steps a: expected a whole number."),
        ("callbacks", "EarlyStopping", "monitr=val/ua", "Option 'monitr' is not accepted. Did you mean --monitor?"),
        ("callbacks", "EarlyStopping", "patience=two", "--patience two: expected a whole number."),
    ],
)
def test_an_argument_of_a_logger_or_a_callback_is_told_by_its_name(
    group: str, name: str, argument: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*FIT, f"--trainer.{group}={name}", f"--trainer.{group}.{argument}"]
    assert refused(arguments, capsys) == f"error: --trainer.{group} {name}: {told}"


def test_profile_tells_alike(capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(["profile", "--model=probe", "--model.layers=3"], capsys)
    assert told == "error: --model.layers 3: expected a list such as [3] or null."


@pytest.mark.parametrize(
    "message",
    ["the following arguments are required: --model", 'Parser key "a": Unable to load config "x"', "Got value: 3"],
)
def test_other_messages_stay_as_they_are(message: str) -> None:
    assert in_words(message) == message


def test_a_kind_that_is_not_known_here_is_named_as_it_came() -> None:
    assert (
        in_words("Parser key \"a.b\":\n  Expected a <class 'Decimal'>. Got value: x") == "--a.b x: expected <class 'Decimal'>."
    )
