"""Settings from the environment: `POSREFINE_<NAME>`, and which other names beside them are mistakes."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Iterable, Mapping

from pipeline.settings.base import Settings, public_name
from pipeline.settings.jobs import ALL_SETTINGS
from posrefine.errors import ConfigurationError

__all__ = ["PREFIX", "check_environment", "closest", "find_settings"]

logger = logging.getLogger(__name__)

PREFIX = "POSREFINE_"

# Read by other parts of the project.
_OTHERS = {"cache"}
_TESTS = "test_"
# Names nearer to a setting's than this are taken for a slip of the pen.
_SLIP = 0.8

# What Kubernetes puts into a pod for a port of a service, beside X_SERVICE_HOST.
_PORT = re.compile(r"(?:SERVICE_)?PORT(?:_\w+)?")


def find_settings(kind: type[Settings], environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of a job that the environment gives, by name."""
    names = {f"{PREFIX}{name.upper()}": name for name in _names(kind)}
    given = {name.upper(): value for name, value in environment.items()}
    return {
        names[variable]: value
        for variable, value in given.items()
        if variable in names and not _is_service_link(variable, given)
    }


def check_environment(kind: type[Settings], environment: Mapping[str, str]) -> None:
    """Look at the variables with our prefix that give no setting.

    Those of other jobs' settings are none of this job's business, and neither are the service links that
    Kubernetes puts into every pod. What else has the prefix is warned of.

    Raises:
        ConfigurationError: a variable whose name is close to a setting of the job, but is none.
    """
    own = _names(kind)
    known = own.union(_OTHERS, *map(_names, ALL_SETTINGS))
    given = {name.upper(): value for name, value in environment.items()}
    for variable in given:
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in known or name.startswith(_TESTS):
            continue
        if _is_service_link(variable, given):
            continue
        meant = closest(name, own, _SLIP)
        if meant is not None:
            raise ConfigurationError(
                f"environment variable {variable}: no such setting (did you mean {PREFIX}{meant.upper()}?); "
                "unset or correct it"
            )
        logger.warning("environment variable %s: there is no such setting; it changes nothing", variable)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that is most like `name`, if any is."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def _names(kind: type[Settings]) -> set[str]:
    return {public_name(kind, field) for field in kind.model_fields}


def _is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes made the variable, as it does for every service of the pod's namespace.

    A service `posrefine-metrics` makes POSREFINE_METRICS_PORT=tcp://10.0.0.1:80, which is no port number.
    """
    if name.endswith("_SERVICE_HOST"):
        return True
    for match in re.finditer("_(?=(?:SERVICE_)?PORT)", name):
        service, rest = name[: match.start()], name[match.end() :]
        if f"{service}_SERVICE_HOST" in environment and _PORT.fullmatch(rest):
            return rest != "PORT" or "://" in environment[name]
    return False
