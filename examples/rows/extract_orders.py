"""Orders out of mails: every answer is held to a Pydantic model, and asked for again if it does not fit.

OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python examples/rows/extract_orders.py
"""

import os
from pathlib import Path

from pydantic import BaseModel, Field

import bulkrate


class Item(BaseModel):
    """One line of an order."""

    article: str
    quantity: int = Field(ge=1)


class Order(BaseModel):
    """What a mail orders."""

    customer: str
    items: list[Item]
    wanted_by: str | None = Field(default=None, description="a date as YYYY-MM-DD, if the mail names one")


job = bulkrate.extract(
    Path(__file__).parent / "orders.csv",
    column="mail",
    schema=Order,
    model=os.environ.get("MODEL", "gpt-4o-mini"),
    reask=2,
    output="orders.parquet",
    overwrite=True,
)
for result in job.result():
    if result.ok:
        order = Order.model_validate(result.value)
        print(result.row["id"], f"{len(order.items)} items for", order.customer)
    else:
        print(result.row["id"], "no order:", result.error)
