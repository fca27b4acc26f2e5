"""What the one-shot that makes the topics says as a log."""

import json
import subprocess
import sys

from tests.repo.tree import ROOT


def test_problems_are_lines_of_the_one_schema() -> None:
    """With --log each is a JSON object with the five fields of every service's lines."""
    command = [sys.executable, "-m", "common.topics", "plan", "--partitions", "0", "--log"]
    ran = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False, timeout=30)
    (line,) = map(json.loads, ran.stderr.splitlines())
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (list(line), line["level"], line["service"]) == (["ts", "level", "service", "instance", "event"], "CRITICAL", "topics")
    assert line["event"].startswith("TOPIC_PARTITIONS='0'")
