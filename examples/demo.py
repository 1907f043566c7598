"""The main job, start to end, in both ways: classify 1,000 customer reviews.

Starts a sandbox (an inference server without a model) and a bulkrate server in front of it, and drives a
batch with the official `openai` SDK. Then does the same with one command, `bulkrate classify`, which needs no
server, and shows what it would have cost at OpenAI. The results are in `demo-results/`. Everything stays on
this machine and costs nothing.

    python examples/demo.py
    python examples/demo.py --upstream http://localhost:8000/v1 --model qwen3    # a real one of yours
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from openai import OpenAI
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

REVIEWS = Path(__file__).parent / "reviews.jsonl"
RESULTS = Path("demo-results")
PROMPT = (
    "Classify the sentiment of this review as positive, negative or neutral. Answer with one word.\n\n{text}"
)
PRICED = "gpt-4o-mini"
ENDED = {"completed", "failed", "expired", "cancelled"}
console = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", help="an OpenAI-compatible server of yours, instead of the sandbox")
    parser.add_argument("--model", default=PRICED)
    options = parser.parse_args()
    reviews = [json.loads(line) for line in REVIEWS.read_text(encoding="utf-8").splitlines()]
    shutil.rmtree(RESULTS, ignore_errors=True)  # of an earlier demo
    RESULTS.mkdir()
    with sandbox_unless(options.upstream) as upstream:
        with server(upstream) as url:
            client = OpenAI(base_url=url, api_key="any")
            batch = submit(client, reviews, options.model)
            batch = follow(client, batch)
            report(client, batch, reviews)
        # A name without a price: what a sandbox says costs nothing, whatever its model is called.
        one_command(upstream, options.model if options.upstream else "rehearsal")


def submit(client: OpenAI, reviews: list[dict[str, Any]], model: str) -> Any:
    """Build the input file, upload it and begin the batch."""
    lines = [
        {
            "custom_id": review["id"],
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": model,
                "messages": [{"role": "user", "content": PROMPT.format(text=review["text"])}],
                "max_tokens": 5,
            },
        }
        for review in reviews
    ]
    path = RESULTS / "requests.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    file = client.files.create(file=path, purpose="batch")
    console.print(f"uploaded  {path} as {file.id} ({file.bytes:,} bytes)")
    batch = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"demo": "reviews"},
    )
    console.print(f"created   {batch.id}")
    return batch


def follow(client: OpenAI, batch: Any) -> Any:
    """Show progress until the batch has ended."""
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(batch.status, total=None)
        while batch.status not in ENDED:
            time.sleep(0.1)
            batch = client.batches.retrieve(batch.id)
            counts = batch.request_counts
            progress.update(
                task,
                description=batch.status,
                total=counts.total or None,
                completed=counts.completed + counts.failed,
            )
    return batch


def report(client: OpenAI, batch: Any, reviews: list[dict[str, Any]]) -> None:
    """Fetch the results, match them by custom_id, and say what came out."""
    if batch.status != "completed":
        sys.exit(f"the batch ended {batch.status}: {batch.errors}")
    answers = {}
    for kind, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
        if file_id is not None:
            content = client.files.content(file_id).read()
            (RESULTS / f"{kind}.jsonl").write_bytes(content)
            answers |= {line["custom_id"]: line for line in map(json.loads, content.splitlines())}
    counts, usage = batch.request_counts, batch.usage
    seconds = max(batch.completed_at - batch.created_at, 1)
    console.print(f"{batch.status} in about {seconds} s; the results are in {RESULTS}/")
    console.print(f"lines     {counts.total:,}: {counts.completed:,} answered, {counts.failed:,} failed")
    console.print(f"tokens    {usage.total_tokens:,}: {usage.input_tokens:,} in, {usage.output_tokens:,} out")
    labels = Counter(answer_of(answers[review["id"]]) for review in reviews)
    console.print("labels    " + ", ".join(f"{label} {count}" for label, count in labels.most_common(4)))
    console.print()
    for review in reviews[:5]:
        text = " ".join(review["text"].split())
        shown = text if len(text) <= 70 else text[:69] + "…"
        console.print(f"{review['id']}  {answer_of(answers[review['id']]):<9} {shown}", markup=False)


def one_command(upstream: str, model: str) -> None:
    """The same from rows to answers, on the command line; and what it would cost at OpenAI."""
    asked = (
        "classify",
        os.path.relpath(REVIEWS),
        "--column",
        "text",
        "--labels",
        "positive,negative,neutral",
    )
    here = ("--model", model, "--upstream", upstream, "--output", str(RESULTS / "labelled.csv"))
    console.print(f"\n$ bulkrate {shlex.join([*asked, *here])}", markup=False)
    bulkrate(*asked, *here, "--yes", stdout=subprocess.DEVNULL)
    elsewhere = ("--model", PRICED, "--max-tokens", "20", "--upstream", "openai", "--dry-run", "--json")
    forecast = json.loads(bulkrate(*asked, *elsewhere, stdout=subprocess.PIPE))["estimate"]
    low, high = (f"${float(forecast['batch'][bound]):.4f}" for bound in ("likely", "high"))
    console.print(
        f"at OpenAI {low} for {PRICED} in a batch (at most {high}), {forecast['saving_percent']} % below "
        f"the standard price; {forecast['batch']['mark']}: {forecast['batch']['source']}"
    )


def bulkrate(*words: str, stdout: int) -> str:
    """Run a command of bulkrate, and return what it prints to `stdout`."""
    command = [sys.executable, "-m", "bulkrate", *words, "--data", str(RESULTS / "jobs")]
    # A dry run sends nothing, but wants to know where it would go.
    environ = {"OPENAI_API_KEY": "not-used"} | os.environ
    done = subprocess.run(command, env=environ, stdout=stdout, text=True, check=True)
    return done.stdout or ""


def answer_of(line: dict[str, Any]) -> str:
    """The first word of an answer, or what went wrong."""
    if line["error"] is not None:
        return str(line["error"]["code"])
    response = line["response"]
    if response["status_code"] != 200:
        return f"HTTP {response['status_code']}"
    content = response["body"]["choices"][0]["message"]["content"]
    words = re.findall(r"\w+", content)
    return words[0].lower() if words else "(nothing)"


@contextmanager
def sandbox_unless(upstream: str | None) -> Iterator[str]:
    """The upstream asked for, or a sandbox on a free port."""
    if upstream is not None:
        yield upstream
        return
    with started("sandbox", "--port", "0", "--latency-ms", "100", "--latency-spread", "0.5") as url:
        console.print(f"sandbox   {url}  (no model: it makes its answers up, and says so in each)")
        yield url


@contextmanager
def server(upstream: str) -> Iterator[str]:
    """A bulkrate server on a free port."""
    with started("serve", "--port", "0", "--data", str(RESULTS / "data"), "--upstream", upstream) as url:
        console.print(f"server    {url}")
        yield url


@contextmanager
def started(*command: str) -> Iterator[str]:
    """A bulkrate command while it runs; where it listens."""
    log = RESULTS / f"{command[0]}.log"
    with log.open("w+", encoding="utf-8") as writer:
        process = subprocess.Popen([sys.executable, "-m", "bulkrate", *command], stderr=writer)
        try:
            yield wait_for_address(process, log)
        finally:
            process.terminate()
            process.wait(60)


def wait_for_address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a command says it listens on."""
    for _ in range(600):
        said = log.read_text(encoding="utf-8")
        if match := re.search(r"http://[\d.]+:\d+/v1", said):
            return match[0]
        if process.poll() is not None:
            sys.exit(f"{log} says:\n{said}")
        time.sleep(0.05)
    sys.exit(f"nothing listens after 30 s; see {log}")


if __name__ == "__main__":
    main()
