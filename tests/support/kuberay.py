"""What KubeRay 1.6 and the Prometheus operator take: the documented fields of their resources, and no others.

Their CRDs are in no Python or Debian package, so these models stand for them: of every object the names that
the API reference lists, with their types as far as our manifests use them. What lies inside a pod is left to
Kubernetes' own schema, see `pod_templates`.
"""

# ruff: noqa: N815 - the names are theirs
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

__all__ = ["PodMonitor", "RayCronJob", "RayJob", "pod_templates"]


class Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Fields):
    # A RayJob's name goes into the names of its cluster and services, which are labels of DNS.
    name: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=47)
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AuthOptions(Fields):
    mode: Literal["disabled", "token"]
    secretName: str | None = None
    enableK8sTokenAuth: bool | None = None


class Group(Fields):
    rayStartParams: dict[str, str]
    template: dict[str, Any]
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}


class HeadGroup(Group):
    serviceType: str | None = None
    headService: dict[str, Any] | None = None
    enableIngress: bool | None = None


class WorkerGroup(Group):
    groupName: str
    replicas: int | None = None
    minReplicas: int
    maxReplicas: int
    idleTimeoutSeconds: int | None = None
    numOfHosts: int | None = None
    suspend: bool | None = None
    scaleStrategy: dict[str, Any] | None = None

    @model_validator(mode="after")
    def replicas_between(self) -> WorkerGroup:
        assert self.minReplicas <= (self.replicas or self.minReplicas) <= self.maxReplicas
        return self


class AutoscalerOptions(Fields):
    version: Literal["v1", "v2"] | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    idleTimeoutSeconds: int | None = None
    resources: dict[str, Any] | None = None
    image: str | None = None
    imagePullPolicy: Literal["IfNotPresent", "Always", "Never"] | None = None
    securityContext: dict[str, Any] | None = None
    env: list[dict[str, Any]] = []
    envFrom: list[dict[str, Any]] = []
    volumeMounts: list[dict[str, Any]] = []


class RayCluster(Fields):
    rayVersion: str
    authOptions: AuthOptions | None = None
    enableInTreeAutoscaling: bool | None = None
    autoscalerOptions: AutoscalerOptions | None = None
    gcsFaultToleranceOptions: dict[str, Any] | None = None
    headServiceAnnotations: dict[str, str] = {}
    upgradeStrategy: dict[str, Any] | None = None
    managedBy: str | None = None
    suspend: bool | None = None
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup] = []


class RayJobSpec(Fields):
    entrypoint: str
    entrypointNumCpus: float | None = None
    entrypointNumGpus: float | None = None
    entrypointResources: str | None = None
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    submitterConfig: dict[str, Any] | None = None
    submitterPodTemplate: dict[str, Any] | None = None
    runtimeEnvYAML: str | None = None
    jobId: str | None = None
    metadata: dict[str, str] = {}
    backoffLimit: int = 0
    activeDeadlineSeconds: PositiveInt | None = None
    preRunningDeadlineSeconds: PositiveInt | None = None
    shutdownAfterJobFinishes: bool = False
    ttlSecondsAfterFinished: int = 0
    deletionStrategy: dict[str, Any] | None = None
    managedBy: str | None = None
    suspend: bool = False
    clusterSelector: dict[str, str] = {}
    rayClusterSpec: RayCluster

    @model_validator(mode="after")
    def ends_clusters_that_it_counts_on(self) -> RayJobSpec:
        # The operator refuses both of these.
        assert self.shutdownAfterJobFinishes or not self.ttlSecondsAfterFinished
        assert self.shutdownAfterJobFinishes or not self.suspend
        return self


class RayJob(Fields):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec


class RayCronJobSpec(Fields):
    schedule: str = Field(pattern=r"^(\S+ ){4}\S+$")
    timeZone: str | None = None
    suspend: bool = False
    jobTemplate: RayJobSpec


class RayCronJob(Fields):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCronJob"]
    metadata: Metadata
    spec: RayCronJobSpec


class PodEndpoint(Fields):
    port: str
    path: str = "/metrics"
    interval: str | None = Field(default=None, pattern=r"^\d+(s|m)$")


class Selector(Fields):
    matchLabels: dict[str, str] = {}
    matchExpressions: list[dict[str, Any]] = []


class PodMonitorSpec(Fields):
    selector: Selector
    jobLabel: str | None = None
    podTargetLabels: list[str] = []
    namespaceSelector: dict[str, Any] | None = None
    podMetricsEndpoints: list[PodEndpoint]


class PodMonitor(Fields):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: Metadata
    spec: PodMonitorSpec


def pod_templates(cluster: RayCluster) -> Iterator[dict[str, Any]]:
    """The head's and the workers' pods."""
    yield cluster.headGroupSpec.template
    for group in cluster.workerGroupSpecs:
        yield group.template
