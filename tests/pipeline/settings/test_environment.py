"""Which variables of the environment are settings, which are mistakes, and which are not ours to judge."""

from __future__ import annotations

import importlib
import logging
import pkgutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import pipeline.settings
from pipeline.settings.base import Settings, public_name
from pipeline.settings.outputs import StatusSettings
from pipeline.settings.packing import PackSettings
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings
from pipeline.settings.training import TrainSettings
from posrefine.errors import ConfigurationError

KUBERAY = Path(__file__).parents[3] / "infra" / "kuberay"
RUN = {"input": "/in", "output": "/out", "model": "dekr_w32", "weights": "untrained"}


def service_links(service: str, address: str, *ports: tuple[str, int]) -> dict[str, str]:
    """What a kubelet puts into every pod for a service (`enableServiceLinks`), port by port."""
    name = service.upper().replace("-", "_")
    links = {f"{name}_SERVICE_HOST": address, f"{name}_SERVICE_PORT": str(ports[0][1])}
    links[f"{name}_PORT"] = f"tcp://{address}:{ports[0][1]}"
    for port_name, port in ports:
        links[f"{name}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(port)
        stem = f"{name}_PORT_{port}_TCP"
        links |= {stem: f"tcp://{address}:{port}", f"{stem}_PROTO": "tcp"}
        links |= {f"{stem}_PORT": str(port), f"{stem}_ADDR": address}
    return links


def links_of_the_shipped_ray_job() -> dict[str, str]:
    """KubeRay names a cluster after its job with five random letters, and its service after the cluster."""
    (job, _) = yaml.safe_load_all((KUBERAY / "rayjob-annotate.yaml").read_text())
    (head,) = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    ports = [(port["name"], port["containerPort"]) for port in head["ports"]]
    return service_links(f"{job['metadata']['name']}-x7f2k-head-svc", "10.0.0.7", *ports)


def test_the_shipped_ray_job_runs_with_what_kubernetes_puts_into_its_pods(caplog: pytest.LogCaptureFixture):
    links = links_of_the_shipped_ray_job()
    assert "POSREFINE_ANNOTATE_X7F2K_HEAD_SVC_SERVICE_HOST" in links
    assert "POSREFINE_ANNOTATE_X7F2K_HEAD_SVC_PORT_8265_TCP_ADDR" in links
    with caplog.at_level(logging.WARNING):
        assert load_settings(RunSettings, RUN, links) == RunSettings(**RUN)
    assert not caplog.records


@pytest.mark.parametrize("service", ["posrefine", "posrefine-metrics", "posrefine-port", "posrefine-unit"])
def test_links_of_services_with_awkward_names_are_neither_settings_nor_mistakes(service: str):
    links = service_links(service, "10.0.0.7", ("http", 80))
    assert load_settings(RunSettings, RUN, links) == RunSettings(**RUN)


def test_a_port_that_was_set_on_purpose_is_a_setting_beside_a_service_of_that_name():
    environment = service_links("posrefine-metrics", "10.0.0.7", ("http", 80))
    environment["POSREFINE_METRICS_PORT"] = "9400"
    assert load_settings(RunSettings, RUN, environment).metrics_port == 9400


@given(st.from_regex(r"posrefine-[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True))
def test_no_service_whatever_its_name_ends_a_run(service: str):
    links = service_links(service, "10.0.0.7", ("http", 80), ("grpc-x", 10001))
    assert load_settings(RunSettings, RUN, links) == RunSettings(**RUN)


@pytest.mark.parametrize(
    ("kind", "values", "variable", "meant"),
    [
        (RunSettings, RUN, "POSREFINE_UNIT_IMAGE", "POSREFINE_UNIT_IMAGES"),
        (RunSettings, RUN, "POSREFINE_SCALE", "POSREFINE_SCALES"),
        (TrainSettings, {"output": "/o", "synthetic": 1}, "POSREFINE_EPOCH", "POSREFINE_EPOCHS"),
        (PackSettings, {"output": "/o", "synthetic": 1}, "POSREFINE_SHARD_IMAGE", "POSREFINE_SHARD_IMAGES"),
        (StatusSettings, {"output": "/o"}, "POSREFINE_OUTPUTS", "POSREFINE_OUTPUT"),
    ],
)
def test_a_name_close_to_a_setting_is_an_error_with_the_suggestion_in_every_job(
    kind: type[Settings], values: dict[str, object], variable: str, meant: str
):
    with pytest.raises(ConfigurationError, match=rf"{variable}: no such setting \(did you mean {meant}\?\)"):
        load_settings(kind, values, {variable: "1"})


@pytest.mark.parametrize("variable", ["POSREFINE_CACHE", "POSREFINE_EPOCHS", "POSREFINE_SHARD_IMAGES"])
def test_what_other_jobs_and_parts_of_the_project_read_is_passed_over_in_silence(
    variable: str, caplog: pytest.LogCaptureFixture
):
    assert load_settings(RunSettings, RUN, {variable: "1"}) == RunSettings(**RUN)
    assert not caplog.records


def test_what_any_command_of_any_job_reads_is_no_mistake_for_another(caplog: pytest.LogCaptureFixture):
    for module in pkgutil.iter_modules(pipeline.settings.__path__):
        importlib.import_module(f"pipeline.settings.{module.name}")
    kinds = list(Settings.__subclasses__())
    for kind in kinds:
        kinds += kind.__subclasses__()
    own = {public_name(StatusSettings, field) for field in StatusSettings.model_fields}
    names = {public_name(kind, field) for kind in kinds for field in kind.model_fields} - own
    load_settings(StatusSettings, {"output": "/out"}, {f"POSREFINE_{name.upper()}": "" for name in names})
    assert not caplog.records


def test_a_name_like_no_setting_is_warned_of_and_changes_nothing(caplog: pytest.LogCaptureFixture):
    assert load_settings(RunSettings, RUN, {"POSREFINE_DEPLOYED_BY": "helm"}) == RunSettings(**RUN)
    assert "POSREFINE_DEPLOYED_BY: there is no such setting" in caplog.text


def test_training_reads_the_environment_too():
    environment = {"POSREFINE_EPOCHS": "3", "POSREFINE_INPUT_SIZES": "0:64,0.5:128"}
    settings = load_settings(
        TrainSettings, {"output": "/o", "synthetic": 1, "model": "posrefine_tiny"}, environment
    )
    assert (settings.epochs, settings.input_sizes) == (3, ((0.0, 64), (0.5, 128)))


def test_packing_reads_ranges_from_every_source(tmp_path: Path):
    file = tmp_path / "pack.yaml"
    file.write_text("people: 2-4\nsynthetic: 3\n")
    given = {"output": "/o", "config": str(file)}
    assert load_settings(PackSettings, given, {}).people == (2, 4)
    assert load_settings(PackSettings, given, {"POSREFINE_PEOPLE": "3"}).people == (3, 3)
    assert load_settings(PackSettings, given | {"people": "1-5"}, {"POSREFINE_PEOPLE": "3"}).people == (1, 5)


@pytest.mark.parametrize("source", ["command line", "environment", "file"])
def test_credentials_are_refused_wherever_they_come_from_and_never_repeated(source: str, tmp_path: Path):
    secret = "s3://KEY:hunter2@bucket/x"
    (tmp_path / "c.yaml").write_text(f"annotations: {secret}\n")
    command_line: dict[str, object] = {**RUN}
    environment = {}
    if source == "command line":
        command_line["annotations"] = secret
    elif source == "environment":
        environment["POSREFINE_ANNOTATIONS"] = secret
    else:
        command_line["config"] = str(tmp_path / "c.yaml")
    with pytest.raises(ConfigurationError, match="setting annotations: holds credentials") as caught:
        load_settings(RunSettings, command_line, environment)
    assert "hunter2" not in str(caught.value)


def test_a_gateway_without_a_scheme_may_hold_no_password_either():
    with pytest.raises(ConfigurationError, match="setting pushgateway: holds credentials"):
        load_settings(RunSettings, RUN | {"pushgateway": "user:hunter2@gateway:9091"}, {})


@pytest.mark.parametrize(
    "text",
    [
        " s3://KEY:hunter2@bucket/x",
        "/a, s3://KEY:hunter2@bucket/x",
        "s3://KEY:hun,hunter2@bucket/x",
        "'s3://KEY:hunter2@bucket/x'",
    ],
    ids=["behind a blank", "second of a list", "with a comma", "in quotes"],
)
def test_credentials_are_refused_however_their_address_is_spelt(text: str):
    with pytest.raises(ConfigurationError, match="setting annotations: holds credentials") as caught:
        load_settings(RunSettings, RUN | {"annotations": text}, {})
    assert "hunter2" not in str(caught.value)
