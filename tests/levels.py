"""How much is tested: servers, engines and minutes are for `TEST_LEVEL=all` alone."""

import os

import pytest

ALL = os.environ.get("TEST_LEVEL") == "all"
all_level = pytest.mark.skipif(not ALL, reason="takes its time: set TEST_LEVEL=all")
