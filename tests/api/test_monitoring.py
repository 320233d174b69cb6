"""The dashboard and the alert rules ask only for what a subsystem tells, and name only commands that there are."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml
from typer.main import get_command

from qreplica.cli.main import app
from qreplica.cluster.leases import Leases
from qreplica.replication import rpo
from qreplica.replication.backlog import BacklogWatch
from qreplica.replication.lag_watch import LagWatch
from qreplica.state.models import Base, Controller, Cycle, CycleKind, JobState, Outcome, Step, now
from qreplica.storage import raid_groups, virtual_disks
from qreplica.storage.driver import RaidLevel
from qreplica.units import GIB, MIB

from ..daemon import certificates  # noqa: TID252
from .promql import Known, Unfit

FOLDER = Path(__file__).parents[2] / "docs" / "monitoring"
RULES = yaml.safe_load((FOLDER / "qreplica-alerts.yml").read_text())
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
DASHBOARD = json.loads((FOLDER / "qreplica-dashboard.json").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = DASHBOARD["panels"]


@pytest.fixture
def known(world: Any, admin: Any, tmp_path: Path) -> Known:
    """What a subsystem tells that has something of everything, and Prometheus adds as it is set up."""
    world.licensing.upload(world.vendor.license(admin.call("GET", "/subsystem")["serial"], days=10))
    world.licensing.begin()
    world.add_disks("d1", "d2")
    raid_groups.create(world.database, world.storage, name="rg1", level=RaidLevel.RAID1, disks=["d1", "d2"])
    virtual_disks.create(world.database, world.storage, name="payroll", raid_group="rg1", size=GIB)
    admin.call("POST", "/raid-groups/rg1/scrub/start")
    job = world.add_job("nightly", "payroll", state=JobState.RUNNING, generation=2)
    with world.database.session() as session:
        session.merge(Controller(number=1, certificate=certificates.bring(tmp_path)[0].read_text()))
        for generation, outcome in ((1, Outcome.COMMITTED), (2, None)):
            cycle = Cycle(job_id=job.id, generation=generation, kind=CycleKind.FULL, outcome=outcome, taken_at=now())
            cycle.step = Step.TRANSFER if outcome is None else Step.DONE
            cycle.finished_at = None if outcome is None else now()
            cycle.total_bytes = 2 * (MIB if outcome is None else GIB)
            session.add(cycle)
    rpo.set_goal(world.database, "nightly", 60)
    leases = Leases(world.database, Base.metadata.tables["duties"], 1, takeover=5)
    leases.keep(["1"])
    LagWatch(world.database, leases, 1).round()
    BacklogWatch(world.database, world.storage, leases, 1).round()
    labels = {name for one in PROMETHEUS["scrape_configs"] for by in one["static_configs"] for name in by["labels"]}
    return Known.read(admin.http.get("/metrics").text, labels | {"job", "instance"})


def expressions() -> Iterator[tuple[str, str, list[str]]]:
    """Yield each expression of both files, with where it is and the texts that show labels of its result."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"], list(rule["annotations"].values())
    for panel in PANELS:
        for target in panel["targets"]:
            renamed = [
                f"{{{{ {name} }}}}"
                for one in panel.get("transformations", [])
                for name in one["options"]["renameByName"]
            ]
            yield panel["title"], with_variables(target["expr"]), [target["legendFormat"], *renamed]


def with_variables(expression: str) -> str:
    """Put something into the place of the dashboard's variables, of which there may be no others."""
    names = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", expression)) <= names
    return re.sub(r"\$\w+", ".*", expression)


def test_they_ask_only_for_metrics_and_labels_that_there_are(known: Known) -> None:
    for place, expression, texts in expressions():
        labels = known.labels_of(expression)
        assert labels is not None, place
        for text in texts:
            shown = set(re.findall(r"{{ *(?:\$labels\.)?([a-z_]+) *}}", text))
            assert shown <= labels, (place, text)
    for variable in DASHBOARD["templating"]["list"]:
        for selector, label in (
            re.findall(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            if (variable["type"] == "query")
            else ()
        ):
            assert label in (known.labels_of(with_variables(selector)) or ()), selector


def test_all_that_tells_of_jobs_is_used(known: Known) -> None:
    """What nobody asks for is told in vain; what is committed when is to be read, not to be drawn."""
    for _, expression, _ in expressions():
        known.labels_of(expression)
    unused = {name for name in known.metrics if name.startswith(("qreplica_job_", "qreplica_path_"))} - known.used
    assert unused == {
        "qreplica_job_last_committed_timestamp_seconds",
        "qreplica_job_recovery_point_timestamp_seconds",
        "qreplica_job_backlog_counted_timestamp_seconds",
    }


def test_what_there_is_not_would_be_found(known: Known) -> None:
    for expression, reason in (
        ("qreplica_job_nothing", "no metric is called qreplica_job_nothing"),
        ('qreplica_job_state{status="failed"}', "has no label status"),
        ('qreplica_job_state{state="broken"}', "has no state like broken"),
        ('qreplica_job_state{state=~"failed|broken"}', "has no state like broken"),
        ("max by (vd) (qreplica_job_state)", "there is no label"),
        ("max by (vd) (qreplica_vd_size_bytes) / max by (type) (qreplica_vd_size_bytes)", "nothing matches"),
        ("qreplica_vd_size_bytes and on (path) qreplica_path_state", "not both have"),
        ("sum(delta(qreplica_vd_sizes[5m])) > 0", "no metric is called qreplica_vd_sizes"),
    ):
        with pytest.raises(Unfit, match=reason):
            known.labels_of(expression)


def test_no_label_is_one_that_prometheus_gives_itself(known: Known) -> None:
    """It would be renamed to exported_job, or exported_instance."""
    for metric, labels in known.metrics.items():
        assert not known.of_targets & set(labels), metric


def test_the_rules_are_complete() -> None:
    assert set(RULES) == {"groups"}
    names = [rule["alert"] for rule in ALERTS]
    assert len(names) == len(set(names)) >= 15
    for rule in ALERTS:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert promql.parse(rule["expr"])
    assert PROMETHEUS["rule_files"] == ["qreplica-alerts.yml"]
    assert all(one["job_name"].startswith("qreplica") for one in PROMETHEUS["scrape_configs"])


def test_the_commands_that_alerts_name_are_there() -> None:
    named = [text for rule in ALERTS for text in re.findall("“qreplica ([^”]+)”", str(rule["annotations"]))]
    assert len(named) >= 10
    for text in named:
        command: Any = get_command(app)
        words = re.sub(r"{{.*?}}", "NAME", text.replace("\\n", " ")).split()
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, text


def test_the_dashboard_is_laid_out_without_overlaps() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in itertools.combinations((panel["gridPos"] for panel in PANELS), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert beside or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] <= place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0
