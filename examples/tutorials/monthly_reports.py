"""A monthly report for each of 1,000 companies, saved to a database.

    OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any MODEL=gpt-4o-mini \
        python examples/tutorials/monthly_reports.py

`business.db`, made here, has a table of sales. The month's rows are gathered by company, each company gets a
report, and all reports go into the table `reports` of the same database in one transaction. Company and month
are the key: next month's run adds its reports to those that are there, and nothing is asked twice.
"""

import os
import random
import sqlite3
from contextlib import closing

import bulkrate

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
MONTH = "2026-10"
PROMPT = """Write the sales report of {{ company }} for {{ month }}: three sentences for its owner.
{% for row in rows %}
{{ row.product }}: {{ row.units }} units, {{ row.euros }} euros
{% endfor %}"""


def make_sales() -> None:
    """Three products and two months for each of 1,000 companies, the same in every run."""
    dice = random.Random(7)
    rows = [
        (f"Company {number:04}", month, product, units, units * price)
        for number in range(1_000)
        for month in ("2026-09", MONTH)
        for product, price in (("basic", 9), ("plus", 19), ("pro", 49))
        for units in [dice.randint(0, 500)]
    ]
    with closing(sqlite3.connect("business.db")) as database, database:
        database.execute("DROP TABLE IF EXISTS sales")
        database.execute("CREATE TABLE sales (company, month, product, units, euros)")
        database.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", rows)


make_sales()
job = bulkrate.report(
    "sqlite:///business.db",
    query=f"SELECT * FROM sales WHERE month = '{MONTH}'",
    group_by=["company", "month"],
    prompt=PROMPT,
    id=["company", "month"],
    model=MODEL,
    output="sqlite:///business.db#reports",
).wait()
print(job)

with closing(sqlite3.connect("business.db")) as database:
    (count,) = database.execute("SELECT count(*) FROM reports WHERE report IS NOT NULL").fetchone()
    print(f"{count:,} reports in business.db, among them:")
    for company, report in database.execute("SELECT company, report FROM reports ORDER BY company LIMIT 3"):
        print(f"{company}: {report}")
