"""What a page shows, as tests ask for it."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
from streamlit.testing.v1 import AppTest

Show = Callable[..., AppTest]


def tables(page: AppTest) -> dict[str, list[dict[Any, Any]]]:
    """The rows of each table, by the first names of its columns."""
    return {str(table.value.columns[0]): table.value.to_dict("records") for table in page.dataframe}


def said(page: AppTest) -> str:
    """All texts that help on."""
    return "\n".join(each.value for kind in (page.info, page.caption, page.warning, page.error, page.success) for each in kind)


def drawn(page: AppTest, number: int = 0) -> dict[str, list[Any]]:
    """What a chart is drawn from, by its columns."""
    found: dict[str, list[Any]] = pa.ipc.open_stream(page.get("vega_lite_chart")[number].proto.data.data).read_all().to_pydict()
    return found


def charts(page: AppTest) -> int:
    """How many charts are drawn."""
    return len(page.get("arrow_vega_lite_chart")) + len(page.get("vega_lite_chart"))
