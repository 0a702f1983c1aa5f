"""Settings: where they come from, which source wins, and what wrong ones say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from posrefine.errors import ConfigurationError

NEEDED = {"input": "/in", "output": "/out", "model": "dekr_w32", "weights": "untrained"}


def write_yaml(folder: Path, **settings: object) -> str:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def test_defaults_hold_where_nothing_is_said():
    settings = load_settings(RunSettings, NEEDED)
    assert settings.unit_images == 128
    assert settings.scales == (1.0,)
    assert settings.flip
    assert settings.exif == "apply"


def test_command_line_wins_over_environment_and_environment_over_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = write_yaml(tmp_path, unit_images=1, table_units=1, max_pixels=1)
    monkeypatch.setenv("POSREFINE_UNIT_IMAGES", "2")
    monkeypatch.setenv("POSREFINE_TABLE_UNITS", "2")
    settings = load_settings(RunSettings, NEEDED | {"config": config, "unit_images": "3"})
    assert (settings.unit_images, settings.table_units, settings.max_pixels) == (3, 2, 1)


def test_the_environment_may_name_the_yaml_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POSREFINE_CONFIG", write_yaml(tmp_path, unit_images=5))
    assert load_settings(RunSettings, NEEDED).unit_images == 5


@given(st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0]), min_size=1, unique=True))
def test_scales_read_the_same_as_text_and_as_numbers(scales: list[float]):
    as_text = load_settings(RunSettings, NEEDED | {"scales": ",".join(map(str, scales))})
    assert as_text.scales == load_settings(RunSettings, NEEDED | {"scales": scales}).scales == tuple(scales)


def test_scales_from_the_environment_need_no_brackets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POSREFINE_SCALES", "0.5, 1, 2")
    assert load_settings(RunSettings, NEEDED).scales == (0.5, 1.0, 2.0)


def test_an_unknown_yaml_key_is_an_error_that_names_the_nearest_setting(tmp_path: Path):
    config = write_yaml(tmp_path, unit_imagse=1)
    with pytest.raises(ConfigurationError, match=r"unit_imagse: no such setting.*unit_images"):
        load_settings(RunSettings, NEEDED | {"config": config})


def test_an_unknown_environment_variable_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("POSREFINE_UNIT_IMAGE", "1")
    with pytest.raises(
        ConfigurationError, match=r"POSREFINE_UNIT_IMAGE: no such setting.*POSREFINE_UNIT_IMAGES"
    ):
        load_settings(RunSettings, NEEDED)


def test_all_problems_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        load_settings(RunSettings, {"input": "/in", "unit_images": "many", "scales": "1,1"})
    message = str(caught.value)
    assert "output: missing; give --output, POSREFINE_OUTPUT" in message
    assert "unit_images: 'many'" in message
    assert "scales: '1,1'" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unit_images", 0),
        ("max_error_rate", 1.5),
        ("exif", "sometimes"),
        ("precision", "float8"),
        ("metrics_port", 70000),
        ("scales", ""),
        ("actors", 0),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object):
    with pytest.raises(ConfigurationError, match=f"setting {name}"):
        load_settings(RunSettings, NEEDED | {name: value})


@pytest.mark.parametrize("name", ["input", "output", "weights", "pushgateway"])
def test_credentials_in_an_address_are_refused_and_not_repeated(name: str):
    with pytest.raises(ConfigurationError, match="credentials") as caught:
        load_settings(RunSettings, NEEDED | {name: "s3://key:hunter2@bucket/x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"), [("- a\n- b\n", "holds a list"), ("a: [", "no YAML"), ("", "holds a NoneType")]
)
def test_a_yaml_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str, message: str):
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match=message):
        load_settings(RunSettings, NEEDED | {"config": str(path)})


def test_a_yaml_file_that_is_missing_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml.*cannot be read"):
        load_settings(RunSettings, NEEDED | {"config": str(tmp_path / "nowhere.yaml")})


def test_settings_cannot_be_changed():
    settings = load_settings(RunSettings, NEEDED)
    with pytest.raises(ValidationError):
        settings.unit_images = 1  # type: ignore[misc]


def test_settings_survive_the_way_through_the_run_record(tmp_path: Path):
    settings = load_settings(
        RunSettings, NEEDED | {"config": write_yaml(tmp_path, scales=[0.5, 1]), "flip": False}
    )
    assert RunSettings(**settings.model_dump(mode="json")) == settings


@pytest.mark.parametrize("number", ["nan", "inf", "1e400"])
@pytest.mark.parametrize("name", ["scales", "lock_expiry_s", "nms_threshold", "num_gpus_per_actor"])
def test_what_is_no_finite_number_is_no_setting(name: str, number: str):
    with pytest.raises(ConfigurationError, match=f"setting {name}: .*finite number"):
        load_settings(RunSettings, NEEDED | {name: number}, {})


@pytest.mark.parametrize("seconds", ["0", "0.5", "86401", "1e300"])
def test_a_lease_lives_for_a_day_at_most(seconds: str):
    with pytest.raises(ConfigurationError, match=r"lock_expiry_s.*(greater than or equal to 1|less than or)"):
        load_settings(RunSettings, NEEDED | {"lock_expiry_s": seconds})
