"""The examples for other schedulers: each tool takes its own, and all run the command of the CronJob."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from support.importers import read_by
from support.manifests import CRONJOB, ROOT, annotate_arguments, commands

import jobs.annotate
import jobs.submit
from posrefine import __version__

SCHEDULES = ROOT / "infra" / "schedules"
HOPELESS, HOPEFUL = {2, 3, 4}, {1, 5, 75}
AIRFLOW = "apache-airflow-providers-cncf-kubernetes==10.25.0"


def words(command: str) -> list[str]:
    """Of the command that submits, with the day in the place of each scheduler's own word for it."""
    _, _, submitted = command.replace("\\\n", " ").partition("python /app/jobs/submit.py")
    return shlex.split(re.sub(r'"posrefine-[^"]*"', "posrefine-DAY", submitted))


def submitted() -> dict[str, str]:
    """The commands of the examples that submit to a cluster."""
    argo = yaml.safe_load((SCHEDULES / "argo.yaml").read_text())
    (template,) = argo["spec"]["workflowSpec"]["templates"]
    github = yaml.safe_load((SCHEDULES / "github-actions.yaml").read_text())
    (step,) = github["jobs"]["sync"]["steps"]
    airflow = (SCHEDULES / "airflow_sync.py").read_text()
    return {
        "argo": template["container"]["args"][0],
        "github": step["run"],
        # As Python reads it.
        "airflow": re.findall(r'COMMAND = """\n(.*?)"""', airflow, re.DOTALL)[0].replace("\\\\", "\\"),
    }


@pytest.mark.parametrize("name", submitted())
def test_every_example_runs_the_command_of_the_cron_job(name: str):
    # That one runs on a cluster in test_token_cluster.py.
    assert words(submitted()[name]) == words(commands()[CRONJOB.name])


def test_dagster_submits_what_the_clusters_image_has():
    # On the head node there is no Python of Dagster's machine.
    tree = ast.parse((SCHEDULES / "dagster_sync.py").read_text())
    (given,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMMAND"
    ]
    command = eval(compile(ast.Expression(given), "COMMAND", "eval"), {})
    assert command == words(commands()[CRONJOB.name])[3:]


def test_every_example_names_the_image_of_this_version():
    named = {
        (path.name, tag)
        for path in (ROOT / "infra").rglob("*")
        if path.is_file()
        for tag in re.findall(r"posrefine:([0-9][\w.]*)", path.read_text())
    }
    assert len(named) >= 7
    assert {tag for _, tag in named} == {__version__}


def test_the_line_of_cron_is_one_that_cron_and_the_job_take(tmp_path: Path):
    (line,) = [line for line in (SCHEDULES / "crontab").read_text().splitlines() if re.match(r"[0-9*]", line)]
    *times, command = line.split(maxsplit=5)
    assert len(times) == 5
    assert "%" not in command, "cron makes line ends of them"
    given = jobs.annotate.parser().parse_args(annotate_arguments(command))
    assert (given.command, given.output) == ("sync", "s3://CHANGE-bucket/poses")
    # A second one that comes too early ends at once, as flock says it.
    lock = tmp_path / "lock"
    held = f"flock --nonblock {lock} sh -c 'flock --nonblock {lock} true; echo $?'"
    done = subprocess.run(["bash", "-c", held], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_what_cannot_succeed_is_not_repeated_by_argo_and_no_nights_overlap():
    spec = yaml.safe_load((SCHEDULES / "argo.yaml").read_text())["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    (template,) = spec["workflowSpec"]["templates"]
    condition, _, codes = template["retryStrategy"]["expression"].rpartition(" not in ")
    assert condition == "asInt(lastRetry.exitCode)"
    assert set(json.loads(codes)) == HOPELESS
    github = yaml.safe_load((SCHEDULES / "github-actions.yaml").read_text())
    assert github["concurrency"]["cancel-in-progress"] is False


@pytest.mark.slow
def test_argos_own_models_know_every_field_and_find_one_that_is_misspelt(tmp_path: Path):
    text = (SCHEDULES / "argo.yaml").read_text()
    for given, unknown in (
        (text, []),
        (text.replace("concurrencyPolicy", "concurencyPolicy"), [".spec.concurencyPolicy"]),
    ):
        (tmp_path / "argo.json").write_text(json.dumps(yaml.safe_load(given)))
        assert read_by("argo_workflow", "hera==7.1.0", tmp_path / "argo.json") == unknown


@pytest.mark.slow
def test_the_schema_of_github_actions_takes_the_workflow(tmp_path: Path):
    code, said = read_by("github_workflow", "check-jsonschema==0.39.0", SCHEDULES / "github-actions.yaml")
    assert code == 0, said
    (tmp_path / "bad.yaml").write_text(
        (SCHEDULES / "github-actions.yaml").read_text().replace("runs-on:", "run-on:")
    )
    assert read_by("github_workflow", "check-jsonschema==0.39.0", tmp_path / "bad.yaml")[0] == 1


@pytest.mark.slow
def test_dagster_runs_the_asset_once_where_it_cannot_succeed():
    found = read_by("dagster_definitions", "dagster==1.13.29", SCHEDULES / "dagster_sync.py")
    assert (found["cron"], found["retries"]) == ("30 1 * * *", 2)
    for code, (ended_well, calls) in found["ends"].items():
        assert ended_well == (code == "0")
        assert len(calls) == 1, code
    name, _, command = found["ends"]["0"][1][0].partition(" -- ")
    assert jobs.submit.parser().parse_args([*shlex.split(name), "--", "x"]).name.startswith("posrefine-")
    assert jobs.annotate.parser().parse_args(annotate_arguments(command)).command == "sync"


@pytest.mark.slow
def test_airflow_loads_the_dag_and_fails_for_good_where_it_cannot_succeed():
    found = read_by("airflow_dag", AIRFLOW, SCHEDULES / "airflow_sync.py")
    assert (found["dag"], found["max_active_runs"], found["retries"]) == ("posrefine_nightly", 1, 2)
    ends = {int(code): end for code, end in found["ends"].items()}
    assert ends == dict.fromkeys(HOPELESS, "for good") | dict.fromkeys(HOPEFUL, "again")
    assert words(found["command"]) == words(commands()[CRONJOB.name])
