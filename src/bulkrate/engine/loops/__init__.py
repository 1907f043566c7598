"""What moves batches on: **admit**, **send**, **finish**, **sweep** and **notify**, one verb a file.

`clerk` runs all of them but **send**; `log` makes outcomes durable and lets them count.
"""
