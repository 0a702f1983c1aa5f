"""Airflow 3: a nightly pod that submits to the standing Ray cluster and ends with the exit code of the sync.

Copy it to the folder of the DAGs and change what is marked CHANGE. Codes 2, 3 and 4 fail the task for good,
since they end so again however often they are tried; anything else is tried twice more and goes on.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.exceptions import AirflowException
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from kubernetes.client import V1Pod

NEEDS_SOMEBODY_WHO_LOOKS = {2, 3, 4}
COMMAND = """
exec python /app/jobs/submit.py --name "posrefine-{{ ds }}" -- \\
  python /app/jobs/annotate.py sync \\
    --input s3://CHANGE-bucket/photographs \\
    --output s3://CHANGE-bucket/poses \\
    --model dekr_w32 --weights mmpose:dekr_w32_coco
"""


class SyncPod(KubernetesPodOperator):
    """A pod whose exit code says whether another try can help."""

    def cleanup(self, pod: V1Pod, remote_pod: V1Pod, *arguments: object, **named: object) -> None:
        """As the operator does it, but for codes that are not worth another try."""
        try:
            super().cleanup(pod, remote_pod, *arguments, **named)
        except AirflowException as error:
            code = exit_code(remote_pod)
            if code in NEEDS_SOMEBODY_WHO_LOOKS:
                raise AirflowFailException(f"the sync ended with code {code}: see outcome.json") from error
            raise


def exit_code(pod: V1Pod | None) -> int | None:
    """Of the pod's container; None where it has not ended."""
    statuses = (pod.status.container_statuses if pod and pod.status else None) or []
    return next((s.state.terminated.exit_code for s in statuses if s.state and s.state.terminated), None)


with DAG(
    dag_id="posrefine_nightly",
    schedule="30 1 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
) as dag:
    SyncPod(
        task_id="sync",
        name="posrefine-sync",
        image="CHANGE-registry/posrefine:0.2.0",
        cmds=["bash", "-euc"],
        arguments=[COMMAND],
        env_vars={"RAY_ADDRESS": "http://CHANGE-raycluster-head-svc:8265", "RAY_AUTH_MODE": "token"},
        secrets=[Secret("env", "RAY_AUTH_TOKEN", "posrefine-ray-token", "auth_token")],
        retries=2,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(hours=12),
        # One that was lost sight of is followed: the Ray job has the day in its name.
        reattach_on_restart=True,
    )
