"""The annotate job with every record of every library logged, in the driver and in its workers.

python talkative_job.py run --input ... --output ...
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ray

from jobs.annotate import main


def _talk() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG)


if __name__ == "__main__":
    _talk()
    if sys.argv[1] == "run":
        ray.init(runtime_env={"worker_process_setup_hook": _talk}, logging_level=logging.DEBUG)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
