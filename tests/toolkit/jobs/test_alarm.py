"""Alarms: whom they reach, with what, and how often."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from bulkrate.toolkit.jobs.spec import Watch
from tests.toolkit.jobs.conftest import Quick, asked, run

ROWS = [{"text": "good"}, {"text": "bad [[sandbox:status=400]]"}]


@pytest.fixture
def receiver():
    """A URL, and the bodies that were posted to it."""
    bodies = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/alarm", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_too_many_failures_are_told_by_webhook_and_command_once(desk, server, receiver, tmp_path):
    url, bodies = receiver
    told = tmp_path / "told"
    watch = Watch(webhook=url, command=f"cat >> {told}; echo $JOB_ALARM $JOB_ID >> {told}.env")
    folder, record = run(desk, asked(server.url, watch=watch), ROWS)
    assert len(bodies) == 1
    assert bodies[0]["type"] == "job.failures"
    assert bodies[0]["counts"]["failed"] == 1
    assert bodies[0]["success_rate"] == 0.5
    assert json.loads(told.read_text()) == bodies[0]
    assert (tmp_path / "told.env").read_text() == f"failures {folder.id}\n"
    assert record.alerted == ["failures: webhook answered 204", "failures: command ended with 0"]
    assert "bad" not in json.dumps(bodies)
    desk.write_again(folder)
    assert len(bodies) == 1


def test_enough_answers_raise_no_alarm(desk, server, receiver):
    url, bodies = receiver
    run(desk, asked(server.url, watch=Watch(webhook=url, fail_under=0.5)), ROWS)
    assert bodies == []


def test_lateness_is_told_once(desk, server, receiver):
    url, bodies = receiver
    rows = [{"text": "slow [[sandbox:sleep_ms=700]]"}]
    run(desk, asked(server.url, watch=Watch(webhook=url, late_after_s=0.01)), rows)
    assert [body["type"] for body in bodies] == ["job.late"]


@pytest.mark.parametrize(
    "watch",
    [
        Watch(webhook="http://127.0.0.1:9/none"),
        Watch(webhook="no address"),
        Watch(command="exit 3"),
        Watch(command="no-such-command-here"),
    ],
)
def test_an_alarm_that_reaches_nobody_stops_nothing(desk, server, watch):
    folder, record = run(desk, asked(server.url, watch=watch), ROWS)
    assert record.state == "done"
    assert len(record.alerted) == 1
    assert folder.load().alerted == record.alerted


def test_a_job_that_is_asked_to_stop_stops_and_goes_on(desk, server):
    class Asker(Quick):
        def pause(self, seconds: float) -> None:
            folder.ask_to_stop()

    from bulkrate.errors import JobError
    from bulkrate.toolkit.sources import open_source

    source = open_source([{"text": "slow [[sandbox:sleep_ms=300]]"}])
    folder, _ = desk.begin(asked(server.url), source)
    with pytest.raises(JobError, match="asked to stop"):
        desk.go_on(folder, Asker(), source=source)
    assert desk.go_on(folder, Quick()).counts["answered"] == 1
