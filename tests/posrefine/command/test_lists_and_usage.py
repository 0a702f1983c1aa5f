"""What the command says without finding anybody."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from pipeline.exit_codes import ExitCode
from posrefine.build import VARIANTS
from posrefine.command import main as command
from posrefine.command import predict
from posrefine.command.main import main
from posrefine.version import code_version
from posrefine.weights import ZOO


def test_the_zoo_lists_every_name(capsys):
    assert main(["zoo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(ZOO)


def test_usage_version_and_the_zoo_wait_for_no_torch():
    for arguments, code in ((["--help"], 0), (["predict", "--help"], 0), (["zoo"], 0), (["nonsense"], 2)):
        script = (
            "import sys; from posrefine.command.main import main\n"
            f"try: code = main({arguments})\n"
            "except SystemExit as end: code = end.code\n"
            "sys.exit(100 if 'torch' in sys.modules else code)"
        )
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stderr


def test_the_version_says_which_code_it_is(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"posrefine {code_version()}\n"


SIGNED = "https://host/x.safetensors?X-Amz-Signature=SEKRET"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["predict", "a.jpg", "--weights", SIGNED], 2),
        (["predict", SIGNED, "--json", "-", "--device", "cpu"], 3),
        (["predict", "a.jpg", "--json", f"{SIGNED}/o.json"], 2),
        (["predict", "a.jpg", "--scales", SIGNED], 2),
        (["predict", "a.jpg", "--device", SIGNED], 2),
        (["predict", "a.jpg", "--no-such-option", SIGNED], 2),
        (["export", "--weights", SIGNED, "--onnx", "o.onnx"], 2),
        ([SIGNED], 2),
    ],
)
def test_no_secret_of_an_address_is_shown(arguments, code, capfd):
    try:
        ended = main(arguments)
    except SystemExit as end:
        ended = end.code
    said = "".join(capfd.readouterr())
    assert ended == code
    assert "SEKRET" not in said
    assert "X-Amz-Signature=***" in said


def test_neither_progress_nor_what_nobody_foresaw_shows_a_secret(monkeypatch, capsys):
    def fail(_):
        logging.getLogger("posrefine.weights").info("downloading %s", SIGNED)
        raise RuntimeError(f"at {SIGNED}")

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr("posrefine.command.lists.zoo", fail)
    assert main(["zoo"]) == 1
    said = capsys.readouterr().err
    assert "downloading https://host/x.safetensors?X-Amz-Signature=***\n" in said
    assert "RuntimeError: at https://host/x.safetensors?X-Amz-Signature=***\n" in said
    assert "SEKRET" not in said


def test_every_command_has_a_help_that_names_its_options(capsys):
    for name in ("predict", "variants", "zoo", "export"):
        with pytest.raises(SystemExit):
            main([name, "--help"])
        assert f"usage: posrefine {name}" in capsys.readouterr().out


def test_a_reader_that_has_enough_is_no_error():
    script = f"{sys.executable} -m posrefine zoo | head -1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("name")


def test_exit_codes_are_those_of_the_jobs():
    codes = (command._COMPLETE, command._CRASH, command._BAD_CONFIGURATION, command._INTERRUPTED)
    assert codes == (
        ExitCode.COMPLETE,
        ExitCode.CRASH,
        ExitCode.BAD_CONFIGURATION,
        ExitCode.INTERRUPTED,
    )
    assert predict._OVER_ERROR_BUDGET == ExitCode.OVER_ERROR_BUDGET


def test_variants_are_listed_with_sizes_and_sources(capsys):
    assert main(["variants"]) == 0
    out = capsys.readouterr().out
    for variant in VARIANTS.values():
        assert f"{variant.name}: {variant.source}" in out
    row = next(line for line in out.splitlines() if line.startswith("dekr_w32"))
    assert row.split() == ["dekr_w32", "coco", "512", "29.56", "45.4", "MIT"]
    assert "141.5" in out
