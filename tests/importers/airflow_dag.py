"""Loads a DAG as Airflow does, and says what it is and how a pod's exit codes end its task."""

import importlib.util
import json
import os
import sys
import tempfile
from unittest.mock import Mock

home = tempfile.mkdtemp()
os.environ |= {
    "AIRFLOW_HOME": home,
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
}

from airflow.exceptions import AirflowException  # noqa: E402
from airflow.sdk.exceptions import AirflowFailException  # noqa: E402
from kubernetes.client import (  # noqa: E402
    V1ContainerState,
    V1ContainerStateTerminated,
    V1ContainerStatus,
    V1ObjectMeta,
    V1Pod,
    V1PodSpec,
    V1PodStatus,
)

spec = importlib.util.spec_from_file_location("airflow_sync", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
(dag,) = (value for value in vars(module).values() if isinstance(value, module.DAG))
(task,) = dag.tasks


def pod(code: int) -> V1Pod:
    terminated = V1ContainerStateTerminated(exit_code=code, message=None)
    status = V1ContainerStatus(
        name="base", image="", image_id="", ready=False, restart_count=0,
        state=V1ContainerState(terminated=terminated),
    )  # fmt: skip
    return V1Pod(
        metadata=V1ObjectMeta(name="posrefine-sync", namespace="default", labels={}),
        spec=V1PodSpec(containers=[]),
        status=V1PodStatus(phase="Failed", container_statuses=[status]),
    )


def ending(code: int) -> str:
    task.client.read_namespaced_pod.return_value = task.hook.get_pod.return_value = pod(code)
    try:
        task.cleanup(pod(code), pod(code))
    except AirflowFailException:
        return "for good"
    except AirflowException:
        return "again"
    return "well"


# What the operator asks a cluster for is not there.
task.on_finish_action = type(task.on_finish_action)("keep_pod")
task.log_events_on_failure = False
task.__dict__ |= {"client": Mock(), "hook": Mock()}
found = {
    "dag": dag.dag_id,
    "schedule": str(dag.schedule),
    "max_active_runs": dag.max_active_runs,
    "retries": task.retries,
    "command": task.arguments[0],
    "ends": {str(code): ending(code) for code in (1, 2, 3, 4, 5, 75)},
}
sys.__stdout__.write(json.dumps(found) + "\n")
