"""What ``/metrics`` says, over HTTP and in Prometheus' words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.thalweg.edge import Edge
from thalweg.metrics import ONCE
from thalweg.ops import exposition


def test_metrics_are_prometheus_text() -> None:
    edge = Edge()
    edge.view.metrics = lambda: {'lag{stream="a"}': 2, "commits_total": 7}
    status, headers, body = edge.ask("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert body.decode() == (
        f"# HELP thalweg_commits_total {ONCE['commits_total']}\n"
        "# TYPE thalweg_commits_total counter\nthalweg_commits_total 7\n"
        '# TYPE thalweg_lag gauge\nthalweg_lag{stream="a"} 2\n'
    )


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: "{" not in name), st.integers()
    )
)
def test_any_metric_name_gives_lines_that_prometheus_reads(metrics: dict[str, int]) -> None:
    for line in exposition(metrics).splitlines():
        name = line.split(" ")[2 if line.startswith("#") else 0] if line else ""
        assert name.replace("_", "").isascii()
