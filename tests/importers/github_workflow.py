"""Checks a workflow against the schema of GitHub Actions that check-jsonschema brings with it."""

import json
import subprocess
import sys

check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", sys.argv[1]]
done = subprocess.run(check, capture_output=True, text=True, check=False)
print(json.dumps([done.returncode, done.stdout + done.stderr]))
