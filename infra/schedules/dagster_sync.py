"""Dagster: a nightly asset whose command runs by Pipes (`dagster dev -f dagster_sync.py` shows it).

Change what is marked CHANGE; Dagster's machine needs the checkout, its packages beside Dagster's, RAY_ADDRESS
and, where the cluster asks for it, RAY_AUTH_MODE and RAY_AUTH_TOKEN in its environment. COMMAND runs on the
head node, in the image of the cluster. Codes 2, 3 and 4 fail for good, since they end so again however often
they are tried; anything else is tried twice more and goes on where it ended. Without its own Ray cluster a
night can be a KubeRay cluster of its own: `PipesKubeRayJobClient` of dagster-ray takes
infra/kuberay/rayjob-annotate.yaml.
"""

import re
import sys
from datetime import UTC, datetime

import dagster
from dagster._core.pipes.subprocess import DagsterPipesExecutionError

NEEDS_SOMEBODY_WHO_LOOKS = {2, 3, 4}
CHECKOUT = "/app"  # CHANGE: where it is on Dagster's machine
COMMAND = [
    *("python", "/app/jobs/annotate.py", "sync"),
    *("--input", "s3://CHANGE-bucket/photographs", "--output", "s3://CHANGE-bucket/poses"),
    *("--model", "dekr_w32", "--weights", "mmpose:dekr_w32_coco"),
]


@dagster.asset(retry_policy=dagster.RetryPolicy(max_retries=2, delay=300))
def poses(
    context: dagster.AssetExecutionContext, pipes: dagster.PipesSubprocessClient
) -> dagster.MaterializeResult:
    """Every person's keypoints, of all photographs of the bucket, as Delta tables."""
    day = f"{datetime.now(UTC):%F}"
    submit = [sys.executable, f"{CHECKOUT}/jobs/submit.py", "--name", f"posrefine-{day}", "--", *COMMAND]
    try:
        pipes.run(context=context, command=submit)
    except DagsterPipesExecutionError as error:
        code = re.search(r"code (\d+)$", str(error))
        if code and int(code[1]) in NEEDS_SOMEBODY_WHO_LOOKS:
            raise dagster.Failure(
                f"the sync ended with code {code[1]}: see outcome.json", allow_retries=False
            ) from error
        raise
    # The command reports nothing by Pipes itself; that it ended well is the materialization.
    return dagster.MaterializeResult()


nightly = dagster.define_asset_job("posrefine_nightly", [poses])
definitions = dagster.Definitions(
    assets=[poses],
    jobs=[nightly],
    schedules=[
        dagster.ScheduleDefinition(job=nightly, cron_schedule="30 1 * * *", execution_timezone="Etc/UTC")
    ],
    resources={"pipes": dagster.PipesSubprocessClient()},
)
