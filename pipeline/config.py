"""The settings of a run: one frozen model, filled from command line, environment, YAML file and defaults."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from pipeline.image_gate import ExifRule
from posrefine.errors import ConfigurationError

__all__ = [
    "SETTING_GROUPS",
    "UNTRAINED",
    "RunSettings",
    "load_settings",
]

UNTRAINED = "untrained"
_ENV_PREFIX = "POSREFINE_"
# Not settings of a run: the test suite's own switch.
_ENV_FOREIGN_PREFIX = "POSREFINE_TEST_"


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


_FloatList = Annotated[tuple[float, ...], NoDecode, BeforeValidator(_split_commas)]


class _Places(BaseModel):
    """Input and output."""

    config: Path | None = Field(None, description="YAML file of settings; names as here, with underscores")
    input: str = Field(description="folder, bucket prefix or shard of images, tars or Parquet files")
    output: str = Field(description="folder or bucket prefix of this run; running again there resumes it")
    annotations: str | None = Field(
        None, description="COCO annotation file that gives every file name its image id"
    )
    image_column: str | None = Field(
        None, description="Parquet input: column of encoded images; found by name"
    )
    key_column: str | None = Field(None, description="Parquet input: column of image keys; found by name")
    unit_images: int = Field(128, ge=1, description="images in a unit of work, at most")
    unit_bytes: int = Field(32 * 2**20, ge=1, description="encoded bytes in a unit of work, about")
    split_tars: bool = Field(True, description="cut tars into units; not for tars that hold tars")
    table_units: int = Field(512, ge=1, description="units in one file of the final tables")


class _Network(BaseModel):
    """Network."""

    model: str = Field(description="name of the network, such as dekr_w32, dekr_w48 or posrefine_tiny")
    weights: str = Field(
        description=f"weights file (path or URI) or zoo name; '{UNTRAINED}' runs the network as built, "
        "with poses that mean nothing"
    )
    score_weights: str | None = Field(
        None, description="weights of the rescoring network, if it is to be used"
    )
    skeleton: Literal["coco", "crowdpose"] = Field("coco", description="joint convention of the network")


class _TestTime(BaseModel):
    """Test time."""

    input_size: int | None = Field(
        None, ge=32, description="short side of the network's input, px; the model's own"
    )
    scales: _FloatList = Field((1.0,), min_length=1, description="scales of the test, such as 0.5,1,2")
    flip: bool = Field(True, description="average with the mirrored image")
    nms_threshold: float | None = Field(
        None, gt=0, description="pose NMS threshold; the protocol's: 0.05, or 0.15 with several scales"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic of the network; auto: the faster one, found when the run begins",
    )
    exif: ExifRule = Field("apply", description="EXIF orientation; COCO's own protocol ignores it")


class _Limits(BaseModel):
    """Limits."""

    max_pixels: int = Field(
        100_000_000, ge=1, description="larger images are refused before decoding, as too_large"
    )
    max_image_bytes: int = Field(
        64 * 2**20, ge=1, description="larger files are refused before fetching, as too_large"
    )
    image_timeout_s: float = Field(
        60.0, gt=0, description="decoding one image may take this long; then it is left out, as timeout"
    )
    max_error_rate: float = Field(
        0.01, ge=0, le=1, description="share of failed images above which the exit code is 3"
    )
    lock_expiry_s: float = Field(
        60.0, ge=1, description="age of a heartbeat at which a lock counts as abandoned"
    )
    no_progress_timeout_s: float = Field(
        1800.0,
        gt=0,
        description="stop when nothing moved for this long; about three times the slowest unit",
    )


class _Cluster(BaseModel):
    """Cluster."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs; auto: on a GPU where actors have one"
    )
    actors: int | None = Field(None, ge=1, description="inference actors; as many as the cluster holds")
    num_gpus_per_actor: float | None = Field(
        None, ge=0, description="GPUs of one actor; 1 where the cluster has GPUs, else 0"
    )
    num_cpus_per_actor: float | None = Field(
        None, gt=0, description="CPUs of one actor; 1 beside a GPU, else a node's CPUs less one"
    )
    actor_wait_s: float = Field(
        600.0, gt=0, description="how long to wait for actors while other jobs hold the cluster"
    )


class _Watching(BaseModel):
    """Watching."""

    metrics_port: int = Field(
        0, ge=0, le=65535, description="port of the Prometheus metrics while the run lasts; 0: none"
    )
    pushgateway: str | None = Field(None, description="URL of a Prometheus Pushgateway for the final metrics")


# Each docstring is the heading of its settings in --help.
SETTING_GROUPS: tuple[type[BaseModel], ...] = (_Places, _Network, _TestTime, _Limits, _Cluster, _Watching)


class RunSettings(_Watching, _Cluster, _Limits, _TestTime, _Network, _Places, BaseSettings):
    """Everything a run is told, made by `load_settings`; secrets come from the cloud's own chain."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=_ENV_PREFIX)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then the YAML file that one of them names."""
        config = init_settings().get("config") or env_settings().get("config")
        if config is None:
            return init_settings, env_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=config)

    @field_validator("input", "output", "annotations", "weights", "score_weights", "pushgateway")
    @classmethod
    def _holds_no_credentials(cls, value: str | None) -> str | None:
        if value is not None and "://" in value and "@" in urlsplit(value).netloc:
            # The value itself stays out of the message: it holds the secret.
            raise ValueError("holds credentials before an '@'; give them by the environment instead")
        return value

    @field_validator("scales")
    @classmethod
    def _scales_are_positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if min(value) <= 0 or len(set(value)) != len(value):
            raise ValueError("scales must be positive and differ from each other")
        return value

    @property
    def untrained(self) -> bool:
        """Whether the network runs without weights, so that its poses mean nothing."""
        return self.weights == UNTRAINED


def load_settings(command_line: Mapping[str, Any]) -> RunSettings:
    """The settings from all sources; precedence: `command_line` > environment > YAML file > defaults.

    Args:
        command_line: values by setting name, as strings or as their own types; only those that were given.

    Raises:
        ConfigurationError: unknown or missing settings, or values out of range, all of them listed.
    """
    _refuse_unknown_environment(os.environ)
    _check_yaml(command_line.get("config") or os.environ.get(f"{_ENV_PREFIX}CONFIG"))
    try:
        return RunSettings(**command_line)
    except ValidationError as error:
        raise ConfigurationError(_readable(error)) from None


def _refuse_unknown_environment(names: Iterable[str]) -> None:
    known = {f"{_ENV_PREFIX}{name.upper()}" for name in RunSettings.model_fields}
    for name in map(str.upper, names):
        if not name.startswith(_ENV_PREFIX) or name.startswith(_ENV_FOREIGN_PREFIX) or name in known:
            continue
        raise ConfigurationError(
            f"environment variable {name}: no such setting{_closest(name, known)}; unset or correct it"
        )


def _check_yaml(path: str | os.PathLike[str] | None) -> None:
    """Missing files and files without a mapping, which the settings library passes over in silence."""
    if path is None:
        return
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"settings file {path}: cannot be read ({error.strerror}); correct --config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings file {path}: no YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"settings file {path}: holds a {type(content).__name__}; wanted a mapping of names to values"
        )


def _readable(error: ValidationError) -> str:
    return "\n".join(_one_problem(problem) for problem in error.errors(include_url=False))


def _one_problem(problem: ErrorDetails) -> str:
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"setting {name}: no such setting{_closest(name, RunSettings.model_fields)}"
    flag = "--" + str(problem["loc"][0]).replace("_", "-")
    if problem["type"] == "missing":
        return (
            f"setting {name}: missing; give {flag}, {_ENV_PREFIX}{name.upper()} or `{name}:` in the YAML file"
        )
    if "credentials" in problem["msg"]:
        return f"setting {name}: {problem['msg'].removeprefix('Value error, ')}"
    return f"setting {name}: {problem['input']!r} will not do: {problem['msg'].removeprefix('Value error, ')}"


def _closest(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {matches[0]}?)" if matches else ""
