"""Loads definitions as Dagster does, and runs the asset with commands that end with some exit code."""

import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import dagster

spec = importlib.util.spec_from_file_location("dagster_sync", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["dagster_sync"] = module
spec.loader.exec_module(module)
dagster.Definitions.validate_loadable(module.definitions)


def tries(code: int) -> list:
    """How the asset ended, and how often its command ran."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = Path(folder, "jobs")
        jobs.mkdir()
        (jobs / "submit.py").write_text(
            f"import sys; print(*sys.argv[1:], file=open({folder + '/calls'!r}, 'a')); sys.exit({code})"
        )
        module.CHECKOUT = folder
        with dagster.DagsterInstance.ephemeral() as instance:
            done = dagster.materialize(
                [module.poses],
                instance=instance,
                resources={"pipes": dagster.PipesSubprocessClient()},
                raise_on_error=False,
            )
        return [done.success, Path(folder, "calls").read_text().splitlines()]


(schedule,) = module.definitions.schedules
found = {
    "cron": schedule.cron_schedule,
    "retries": module.poses.op.retry_policy.max_retries,
    "ends": {str(code): tries(code) for code in (0, 2, 3, 4)},
}
print(json.dumps(found))
